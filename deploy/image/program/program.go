// Package program builds the program for images and releases: one commit gives the same bytes in
// each folder and with each setting of the machine.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Commit is one of the history.
type Commit struct {
	Name     string
	Time     time.Time
	Modified bool // the tree has changes that are not committed
}

// CommitOf returns the commit that is checked out in a folder.
func CommitOf(ctx context.Context, folder string) (Commit, error) {
	out, err := exec.CommandContext(ctx, "git", "-C", folder, "log", "-1", "--no-show-signature", "--format=%ct %H").Output()
	if err != nil {
		return Commit{}, fmt.Errorf("this is no clone with history, so the files have no time; clone the repository: %w", withStderr(err))
	}
	when, name, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	seconds, err := strconv.ParseInt(when, 10, 64)
	if err != nil {
		return Commit{}, err
	}
	changes, err := exec.CommandContext(ctx, "git", "-C", folder, "status", "--porcelain").Output()
	if err != nil {
		return Commit{}, fmt.Errorf("git status: %w", withStderr(err))
	}
	return Commit{Name: name, Time: time.Unix(seconds, 0).UTC(), Modified: len(changes) > 0}, nil
}

// Build says what is compiled.
type Build struct {
	Source  string // folder of the module
	Version string
	Commit  Commit // its zero value: the program does not tell one
}

// version is what names of files, tags of images and flags of the linker can hold.
var version = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}$`)

// CheckVersion refuses a version that cannot be part of a name.
func CheckVersion(v string) error {
	if !version.MatchString(v) {
		return fmt.Errorf("version %q: write letters, digits and . _ + -, such as v1.2.3", v)
	}
	return nil
}

// Compile builds the static program for a platform.
func (b Build) Compile(ctx context.Context, goos, goarch, output string) error {
	if err := CheckVersion(b.Version); err != nil {
		return err
	}
	flags := []string{"-s", "-w", "-X", "github.com/evently/workers/app.linked=" + b.Version}
	if b.Commit.Name != "" {
		flags = append(flags, "-X", "github.com/evently/workers/app.linkedCommit="+b.Commit.Name,
			"-X", "github.com/evently/workers/app.linkedTime="+b.Commit.Time.Format(time.RFC3339),
			"-X", fmt.Sprintf("github.com/evently/workers/app.linkedModified=%t", b.Commit.Modified))
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(flags, " "), "-o", output, ".")
	cmd.Dir, cmd.Env = b.Source, environment(goos, goarch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// environment replaces the settings of the machine that would change the bytes of a program. GOFLAGS
// is not empty, as Go would then read it from its own file of settings. Go writes the commit into a
// program that is built in a clone but not in a linked worktree, so the linker does it.
func environment(goos, goarch string) []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOWORK=off", "GOFLAGS=-buildvcs=false", "GOEXPERIMENT=", "GOFIPS140=off")
}

// withStderr adds what a command wrote to its error.
func withStderr(err error) error {
	if e, ok := errors.AsType[*exec.ExitError](err); ok && len(e.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(e.Stderr)))
	}
	return err
}
