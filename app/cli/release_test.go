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
	"testing"
)

// TestRelease builds the archive of this platform in two clones: they are the same bytes. It
// runs what the archive has, and looks for our libraries in its list of components.
func TestRelease(t *testing.T) {
	t.Parallel()
	const version = "v0.0.0-release-test"
	var sums [2]string
	var folder string
	for i := range sums {
		clone := filepath.Join(t.TempDir(), "clone")
		run(t, "../..", "git", "clone", "--quiet", ".", clone)
		folder = filepath.Join(t.TempDir(), "release")
		run(t, clone, ".ci/release", version, folder, "linux/amd64")
		raw, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = string(raw)
	}
	if sums[0] != sums[1] || sums[0] == "" {
		t.Errorf("two builds differ:\n%s\n%s", sums[0], sums[1])
	}
	title := "evently-workers-" + version + "-linux-amd64"
	files := unpack(t, filepath.Join(folder, title+".tar.gz"))
	for _, name := range []string{"README.md", "CHANGELOG.md", "LICENSE"} {
		if len(files[title+"/"+name]) == 0 {
			t.Errorf("the archive has no %s", name)
		}
	}
	program := filepath.Join(t.TempDir(), "evently-workers")
	if err := os.WriteFile(program, files[title+"/evently-workers"], 0o700); err != nil {
		t.Fatal(err)
	}
	var got struct{ Version, Commit string }
	if err := json.Unmarshal(run(t, "", program, "version", "--json"), &got); err != nil || got.Version != version || got.Commit == "" {
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
		if h.Mode&0o444 != 0o444 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s has mode %o and belongs to %d:%d", h.Name, h.Mode, h.Uid, h.Gid)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
