package redis_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTopologyTable holds the table of topologies in docs/operations.md to tests that exist.
func TestTopologyTable(t *testing.T) {
	t.Parallel()
	text := string(must(os.ReadFile("../../docs/operations.md"))(t))
	_, section, ok := strings.Cut(text, "\n## Redis: each topology, and the test that proves it\n")
	if !ok {
		t.Fatal("docs/operations.md has no table of topologies")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	folder, name := "", regexp.MustCompile("`(?:([a-z0-9/]+) )?(Test[A-Za-z0-9]+)(?:/[^`]*)?`")
	tests := 0
	for _, found := range name.FindAllStringSubmatch(section, -1) {
		if found[1] != "" { // else that of the test before
			folder = found[1]
		}
		tests++
		if !hasTest(t, folder, found[2]) {
			t.Errorf("the table of topologies names %s of %s, which does not exist", found[2], folder)
		}
	}
	if rows := strings.Count(section, "\n| ") - 1; rows < 10 || tests < rows {
		t.Errorf("%d topologies with %d tests", rows, tests)
	}
}

// hasTest reports whether a package has a test of that name.
func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files := must(filepath.Glob(filepath.Join("../..", folder, "*_test.go")))(t)
	for _, file := range files {
		if strings.Contains(string(must(os.ReadFile(file))(t)), "\nfunc "+name+"(t *testing.T) {") {
			return true
		}
	}
	return false
}
