package folder_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/evently/workers/templates/folder"
)

// write writes files below dir. A content that begins with "->" is the target of a link.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, path)
		} else if err = os.WriteFile(dir+".part", []byte(text), 0o644); err == nil {
			err = os.Rename(dir+".part", path) // nothing of a half-written file can be seen
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// many returns empty files whose names are wrong.
func many(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("a%d.tmpl", i)] = ""
	}
	return files
}

func TestRead(t *testing.T) {
	t.Parallel()
	secrets := t.TempDir()
	write(t, secrets, map[string]string{"password.tmpl": "hunter2"})
	for _, test := range []struct {
		name   string
		files  map[string]string
		want   string // name: text of the files
		fault  string // "": none
		skips  []string
		before func(dir string) error
		unless bool // root reads everything
	}{
		{name: "empty"},
		{name: "files", files: map[string]string{"layout.txt.tmpl": "a", "otp/text.tmpl": "b", "words.de.txt": "c = d"}, want: "layout.txt.tmpl:a otp/text.tmpl:b words.de.txt:c = d"},
		{name: "others", files: map[string]string{"README.md": "a", "otp/notes.txt": "b", ".git/x.tmpl": "c", "otp/.text.tmpl.swp": "d", "otp/deep/x.tmpl": "e"}, skips: []string{"README.md", "otp/deep", "otp/notes.txt"}},
		{name: "line ends and mark", files: map[string]string{"otp/text.tmpl": "\ufeffa\r\nb\rc"}, want: "otp/text.tmpl:a\nb\nc"},
		{name: "not UTF-8", files: map[string]string{"otp/text.tmpl": "a\nb\xff"}, fault: "otp/text.tmpl:2: not UTF-8"},
		{name: "control character", files: map[string]string{"otp/text.tmpl": "a\x00"}, fault: "otp/text.tmpl:1: holds a control"},
		{name: "large", files: map[string]string{"otp/text.tmpl": strings.Repeat("x", 65537)}, fault: "otp/text.tmpl: larger than 65536"},
		{name: "link out", files: map[string]string{"otp/text.tmpl": "->../../../../../../etc/passwd"}, fault: "otp/text.tmpl: path escapes"},
		{name: "absolute link", files: map[string]string{"text.tmpl": "->" + filepath.Join(secrets, "password.tmpl")}, fault: "text.tmpl: path escapes"},
		{name: "folder that leads out", files: map[string]string{"otp": "->" + secrets}, fault: "otp: path escapes"},
		{name: "link to nothing", files: map[string]string{"otp/text.tmpl": "->gone"}, fault: "otp/text.tmpl: no such file"},
		{name: "ConfigMap", files: map[string]string{"..2026_1/otp.text.tmpl": "a", "..data": "->..2026_1", "otp.text.tmpl": "->..data/otp.text.tmpl", "..2026_1/otp/html.tmpl": "b", "otp": "->..data/otp"}, want: "otp.text.tmpl:a otp/html.tmpl:b"},
		{name: "folder named as a file", files: map[string]string{"layout.txt.tmpl/x.tmpl": "a"}, fault: "layout.txt.tmpl: is a folder"},
		{name: "link to itself", files: map[string]string{"layout.txt.tmpl": "->layout.txt.tmpl"}, fault: "layout.txt.tmpl: too many levels of symbolic links"},
		{name: "many", files: many(1001), fault: "more than 1000 files"},
		{name: "not readable", files: map[string]string{"layout.txt.tmpl": "a"}, unless: os.Geteuid() == 0, before: func(dir string) error { return os.Chmod(filepath.Join(dir, "layout.txt.tmpl"), 0) }, fault: "layout.txt.tmpl: permission denied"},
		{name: "pipe", before: func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "layout.txt.tmpl"), 0o600) }, fault: "layout.txt.tmpl: is no ordinary file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.unless {
				t.Skip("not as root")
			}
			dir := t.TempDir()
			write(t, dir, test.files)
			if test.before != nil {
				if err := test.before(dir); err != nil {
					t.Fatal(err)
				}
			}
			c, err := folder.Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range c.Files {
				got = append(got, f.Name+":"+f.Text)
				if f.Path != filepath.Join(dir, f.Name) {
					t.Errorf("path %s", f.Path)
				}
			}
			if strings.Join(got, " ") != test.want || !slices.Equal(c.Skipped, test.skips) {
				t.Errorf("%q, skipped %q", got, c.Skipped)
			}
			switch {
			case test.fault == "" && len(c.Faults) > 0:
				t.Errorf("faults: %v", c.Faults)
			case test.fault != "" && (len(c.Faults) != 1 || !strings.Contains(c.Faults[0].Error(), test.fault)):
				t.Errorf("faults: %v; want %s", c.Faults, test.fault)
			}
		})
	}
	for _, wrong := range []string{filepath.Join(secrets, "gone"), filepath.Join(secrets, "password.tmpl")} {
		if _, err := folder.Read(wrong); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
