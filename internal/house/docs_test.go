package house_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Code in the documents is code that is compiled: a block that names a file is part
// of that file.
func TestCodeInDocuments(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```go ([^\n]+)\n(.*?)^```$")
	found := 0
	for _, path := range append(files, "README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			found++
			code, err := os.ReadFile(m[1])
			if err != nil {
				t.Errorf("%s: %v", path, err)
			} else if !strings.Contains(string(code), m[2]) {
				t.Errorf("%s shows code of %s that is not there:\n%s", path, m[1], m[2])
			}
		}
	}
	if found < 2 {
		t.Errorf("%d blocks of code found, want those of README.md and docs/library.md", found)
	}
}

// Links between documents lead to files.
func TestLinksInDocuments(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, path := range append(files, "README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
		}
	}
}
