package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/testkit"
)

// Patch changes one place of one file of the module, for a build alone. The file
// itself is not touched, so that the product has no code for tests in it.
type Patch struct {
	File     string // from the folder of the module
	Old, New string // Old must be there exactly once; "": New is a file more
}

// Overlay writes the patched copies into dir and returns the flags of "go build"
// that build them instead of the files.
func Overlay(t testkit.T, dir string, patches ...Patch) []string {
	t.Helper()
	texts := map[string]string{}
	for _, p := range patches {
		path := filepath.Join(Root(t), p.File)
		text, ok := texts[path]
		if !ok && p.Old != "" {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("overlay: %v", err)
			}
			text = string(data)
		}
		if p.Old == "" {
			texts[path] = p.New
			continue
		}
		if n := strings.Count(text, p.Old); n != 1 {
			t.Fatalf("overlay: %s has %d times what is to be changed, want once:\n%s", p.File, n, p.Old)
		}
		texts[path] = strings.Replace(text, p.Old, p.New, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		copied := filepath.Join(dir, strconv.Itoa(len(replace))+"-"+filepath.Base(path))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatalf("overlay: %v", err)
		}
		replace[path] = copied
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatalf("overlay: %v", err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatalf("overlay: %v", err)
	}
	return []string{"-overlay", file}
}

// Earlier is the commit whose workers run beside the current ones.
const Earlier = "dc2f619"

// HasCommit returns "" when the clone has a commit, and otherwise what to do about
// it: clones of continuous integration often have the newest one only.
func HasCommit(t testkit.T, commit string) string {
	t.Helper()
	// Below a folder that is no clone, git would find another one.
	if _, err := os.Stat(filepath.Join(Root(t), ".git")); err != nil {
		return fmt.Sprintf("commit %s is built for this, and %s is no git clone: run it in one that has its history", commit, Root(t))
	}
	cmd := exec.CommandContext(t.Context(), "git", "-C", Root(t), "cat-file", "-e", commit+"^{commit}")
	if cmd.Run() == nil {
		return ""
	}
	return fmt.Sprintf("commit %s is built for this, and the clone does not have it: run git fetch --unshallow", commit)
}

// BuildCommit builds a program as it was at a commit of this repository.
func BuildCommit(t testkit.T, dir, commit, pkg string) string {
	t.Helper()
	if missing := HasCommit(t, commit); missing != "" {
		t.Fatalf("%s", missing)
	}
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatalf("build %s: %v", commit, err)
	}
	archive := filepath.Join(dir, "source.tar")
	out := filepath.Join(dir, "earlier")
	for _, step := range [][]string{
		{"git", "-C", Root(t), "archive", "--output", archive, commit},
		{"tar", "-xf", archive, "-C", source},
	} {
		cmd := exec.CommandContext(t.Context(), step[0], step[1:]...)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %v\n%s", commit, cmd, err, text)
		}
	}
	build(t, source, out, pkg)
	return out
}
