package house_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
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
	for _, path := range append(files, "README.md", "CONTRIBUTING.md") {
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
	for _, path := range append(files, "README.md", "CONTRIBUTING.md") {
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

// Decisions are in the order of their dates, so that the newest ones are found at the end.
func TestDecisionsAreInOrder(t *testing.T) {
	text, err := os.ReadFile("docs/decisions.md")
	if err != nil {
		t.Fatal(err)
	}
	last, found := "", 0
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(string(text), -1) {
		found++
		date, _, _ := strings.Cut(m[1], " ")
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			t.Errorf("the heading %q does not begin with a date", m[1])
		}
		if date < last {
			t.Errorf("the decision %q comes after one of %s", m[1], last)
		}
		last = date
	}
	if found < 2 {
		t.Errorf("%d decisions found: this test proves nothing", found)
	}
}

// The log lines that docs/operations.md names are texts of the code, or begin one.
func TestLogLinesInDocuments(t *testing.T) {
	text, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| `msg` |")
	if !ok {
		t.Fatal("docs/operations.md has no table of log lines")
	}
	table, rest, _ := strings.Cut(table, "\n\n")
	lines := regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(table, -1)
	lines = append(lines, regexp.MustCompile("\\b(?:logs?|log says)\\s`([^`]+)`").FindAllStringSubmatch(string(text), -1)...)
	if len(lines) < 10 || rest == "" {
		t.Fatalf("%d log lines found: this test proves nothing", len(lines))
	}
	code := sourceText(t)
	for _, m := range lines {
		if !strings.Contains(code, strings.TrimSuffix(strconv.Quote(m[1]), `"`)) {
			t.Errorf("docs/operations.md names a log line that the code does not write: %s", m[1])
		}
	}
}

// sourceText returns the code of all Go files except tests.
func sourceText(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// Functions that CONTRIBUTING.md names as the beginning of a change are where it says.
func TestFunctionsInContributing(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	pointers := regexp.MustCompile("`(\\w+)` in \\[([^]]+)\\]").FindAllStringSubmatch(string(text), -1)
	if len(pointers) < 5 {
		t.Errorf("%d functions found", len(pointers))
	}
	for _, m := range pointers {
		code, err := os.ReadFile(m[2])
		if err != nil {
			t.Error(err)
		} else if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + m[1] + `\(`).Match(code) {
			t.Errorf("CONTRIBUTING.md names %s in %s, which has no such function", m[1], m[2])
		}
	}
}
