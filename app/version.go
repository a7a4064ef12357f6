package app

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Name is the name of the program.
const Name = "evently-workers"

// linked is the version that the linker sets for builds from a tree without history.
var linked string

// Version returns the version, the commit and the version of Go. It is never empty.
func Version() string {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(linked, info)
}

// describeBuild prefers the version that the linker set, then that of the module.
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
