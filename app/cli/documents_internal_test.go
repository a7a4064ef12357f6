package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// written finds the commands of documents, in code and at the beginning of indented lines.
var written = regexp.MustCompile("(?m)(?:(?:`|\\$\\(|^    )evently-workers|run --rm(?: --no-deps)? monitor)((?: [a-z][a-z-]*)+)")

// The commands that documents tell to use are there.
func TestCommandsOfDocuments(t *testing.T) {
	t.Parallel()
	var p program
	parser, err := kong.New(&p, kong.Name("evently-workers"))
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"../../README.md", "../../deploy/compose.yaml"}
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range slices.Concat(files, documents) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		commands := written.FindAllStringSubmatch(string(raw), -1)
		if found += len(commands); len(commands) == 0 && slices.Contains(files, file) {
			t.Errorf("%s: no command was found", file)
		}
		for _, m := range commands {
			node := parser.Model.Node
			for _, word := range strings.Fields(m[1]) {
				i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
				if i < 0 {
					if len(node.Children) > 0 || len(node.Positional) == 0 {
						t.Errorf("%s: there is no command evently-workers%s", file, m[1])
					}
					break
				}
				node = node.Children[i]
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d commands were found", found)
	}
}
