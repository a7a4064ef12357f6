package secretfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/evently/workers/internal/secretfile"
)

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for text, want := range map[string]string{
		"hunter2": "hunter2", "hunter2\n": "hunter2", "hunter2\r\n": "hunter2", "hunter2\n\n": "hunter2",
		" hunter2 \n": " hunter2 ", `"hunter2"`: `"hunter2"`, "a # b": "a # b", "\ufeffhunter2\r\n": "hunter2",
	} {
		if got, err := secretfile.Read(write("value", text)); err != nil || got != want {
			t.Errorf("%q is read as %q, %v; want %q", text, got, err, want)
		}
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write("empty", ""): "it is empty", write("line", " \n"): "it is empty", dir: "it is a folder", pipe: "not a regular file",
		"/dev/null": "not a regular file", write("large", strings.Repeat("cAnArY", 200_000)): "larger than", filepath.Join(dir, "none"): "no such file",
	} {
		if got, err := secretfile.Read(path); err == nil || got != "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "cAnArY") {
			t.Errorf("%s: %q, %v; want %q without the path", path, got, err, want)
		}
	}
}

// Kubernetes swaps the folder behind two links, and no file is ever written to.
func TestReadThroughLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(version, text string) {
		t.Helper()
		for _, err := range []error{
			os.Mkdir(filepath.Join(dir, version), 0o700),
			os.WriteFile(filepath.Join(dir, version, "password"), []byte(text), 0o600),
			os.Symlink(version, filepath.Join(dir, "..data_tmp")),
			os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put("..2026_1", "first")
	path := filepath.Join(dir, "password")
	if err := os.Symlink("..data/password", path); err != nil {
		t.Fatal(err)
	}
	for _, next := range []string{"second", "third"} {
		put("..2026_"+next, next)
		if got, err := secretfile.Read(path); err != nil || got != next {
			t.Errorf("%q, %v; want %q", got, err, next)
		}
	}
}
