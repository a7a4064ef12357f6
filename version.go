package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Help is the long help of the command.
func (versionCmd) Help() string {
	return `Prints one line: the version, the commit it was built from, and Go's version.`
}

// Run prints the version.
func (versionCmd) Run(t terminal) error {
	_, err := fmt.Fprintf(t.out, "%s %s\n", programName, buildVersion())
	return err
}

func buildVersion() string {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(version, info)
}

// describeBuild is never empty: what the linker was told wins, then the version
// of the module, then the commit.
func describeBuild(linked string, info *debug.BuildInfo) string {
	name, commit, modified := linked, "", ""
	if info != nil {
		if name == "" && info.Main.Version != "(devel)" {
			name = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = ", modified"
			}
		}
	}
	if name == "" {
		name = "development build"
	}
	if commit != "" {
		return fmt.Sprintf("%s (commit %s%s, %s)", name, commit, modified, runtime.Version())
	}
	return fmt.Sprintf("%s (%s)", name, runtime.Version())
}
