package app

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/evently/workers/monitor"
)

// Name is the name of the program.
const Name = "evently-workers"

// The linker sets these for images, releases and builds from a tree without history. Go itself writes
// a commit only into programs that are built in a clone, not in a linked worktree.
var (
	linked         string // version
	linkedCommit   string
	linkedTime     string // of the commit, RFC 3339
	linkedModified string // "true" with changes that are not committed
)

// Build tells from what the program was built.
type Build struct {
	// Version is the version that the linker set, else that of the module, else
	// "development build".
	Version string
	Commit  string    // the first 12 digits; "" without history
	Time    time.Time // of the commit; zero without history
	// Modified reports changes that are not committed.
	Modified bool
	Go       string // version of Go
	System   string // operating system and architecture
}

// Version returns the version, the commit and the version of Go. It is never empty.
func Version() string { return BuildOf().String() }

// BuildOf returns from what this program was built.
func BuildOf() Build {
	info, _ := debug.ReadBuildInfo()
	b := readBuild(linked, info)
	if linkedCommit != "" {
		b.setCommit(linkedCommit, linkedTime, linkedModified)
	}
	return b
}

// setCommit sets what is built. A time that cannot be read is none.
func (b *Build) setCommit(name, when, modified string) {
	b.Commit = name[:min(12, len(name))]
	b.Time, _ = time.Parse(time.RFC3339, when)
	b.Modified = modified == "true"
}

// forMetrics returns the build for the metrics.
func (b Build) forMetrics() monitor.Build {
	return monitor.Build{Version: b.Version, Revision: b.Commit, Go: b.Go}
}

// String returns one line.
func (b Build) String() string {
	if b.Commit == "" {
		return fmt.Sprintf("%s (%s)", b.Version, b.Go)
	}
	modified := ""
	if b.Modified {
		modified = ", modified"
	}
	return fmt.Sprintf("%s (commit %s%s, %s)", b.Version, b.Commit, modified, b.Go)
}

// readBuild prefers the version that the linker set, then that of the module.
func readBuild(linked string, info *debug.BuildInfo) Build {
	b := Build{Version: linked, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if info != nil {
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		b.setCommit(settings["vcs.revision"], settings["vcs.time"], settings["vcs.modified"])
	}
	if b.Version == "" {
		b.Version = "development build"
	}
	return b
}
