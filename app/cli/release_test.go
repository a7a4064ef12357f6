package cli_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRelease builds the archive of this platform in a clone, and in a changed worktree with other
// settings of the machine: they are the same bytes. It runs what the archive has.
func TestRelease(t *testing.T) {
	t.Parallel()
	const version = "v0.0.0-release-test"
	clone, worktree := filepath.Join(t.TempDir(), "clone"), filepath.Join(t.TempDir(), "worktree")
	run(t, "../..", "git", "clone", "--quiet", ".", clone)
	run(t, clone, "git", "worktree", "add", "--quiet", "--detach", worktree)
	for path, text := range map[string]string{"README.md": "changed", "untracked.go": "package wrong"} {
		if err := os.WriteFile(filepath.Join(worktree, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var sums [2]string
	folder := filepath.Join(t.TempDir(), "release")
	other := filepath.Join(t.TempDir(), "other")
	run(t, clone, ".ci/release", version, folder, "linux/amd64")
	run(t, worktree, "env", "TZ=Asia/Kathmandu", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "GOFLAGS=-buildvcs=true", "GOAMD64=v3", "SOURCE_DATE_EPOCH=1", "GZIP=-1",
		"TAR_OPTIONS=--owner=1000", "COLUMNS=33", "sh", "-c", "umask 077; exec .ci/release "+version+" "+other+" linux/amd64")
	for i, f := range []string{folder, other} {
		raw, err := os.ReadFile(filepath.Join(f, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = string(raw)
	}
	if sums[0] != sums[1] || sums[0] == "" {
		t.Errorf("two builds differ:\n%s\n%s", sums[0], sums[1])
	}
	run(t, folder, "sha256sum", "--check", "--strict", "SHA256SUMS")
	title := "evently-workers-" + version + "-linux-amd64"
	files := unpack(t, filepath.Join(folder, title+".tar.gz"))
	for name, want := range map[string]string{
		"README.md": "# ", "CHANGELOG.md": "# ", "LICENSE": "Copyright", "THIRD-PARTY-LICENSES.txt": "github.com/gomodule/redigo v",
		"evently-workers.service": "Type=notify", "man/man1/evently-workers.1": ".TH EVENTLY", "completions/evently-workers.bash": "complete ",
		"completions/_evently-workers": "#compdef", "completions/evently-workers.fish": "complete ",
	} {
		if !strings.Contains(string(files[title+"/"+name]), want) {
			t.Errorf("the archive has no %s with %q", name, want)
		}
	}
	program := filepath.Join(t.TempDir(), "evently-workers")
	if err := os.WriteFile(program, files[title+"/evently-workers"], 0o700); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version, Commit string
		Time            time.Time
		Modified        bool
	}
	commit := string(run(t, clone, "git", "log", "-1", "--format=%H"))
	if err := json.Unmarshal(run(t, "", program, "version", "--json"), &got); err != nil || got.Version != version || got.Commit != commit[:12] || got.Time.IsZero() || got.Modified {
		t.Errorf("version of the program: %+v, %v", got, err)
	}
	var list struct{ Components []struct{ Name string } }
	raw, err := os.ReadFile(filepath.Join(folder, title+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, c := range list.Components {
		found[c.Name] = true
	}
	for _, want := range []string{"github.com/gomodule/redigo", "github.com/lib/pq", "std"} {
		if !found[want] {
			t.Errorf("the list of components has no %s: %v", want, found)
		}
	}
}

// run runs a command in a folder and returns what it wrote.
func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var said []byte
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			said = e.Stderr
		}
		t.Fatalf("%v: %v\n%s%s", cmd, err, out, said)
	}
	return out
}

// unpack returns the files of an archive by their names. Each must be readable by all.
func unpack(t *testing.T, archive string) map[string][]byte {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if mode := h.FileInfo().Mode().Perm(); mode != 0o755 && mode != 0o644 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s has mode %o and belongs to %d:%d", h.Name, mode, h.Uid, h.Gid)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
