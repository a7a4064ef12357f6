package mail_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// gomail composes and does nothing else: its dialer has no deadline once
// connected, and sends passwords in clear where TLS is missing.
func TestGomailOnlyComposes(t *testing.T) {
	t.Parallel()
	used := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == "testdata" || name == "node_modules" || name == "vendor" || strings.HasPrefix(name, ".") && name != ".." {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name := ""
		for _, spec := range file.Imports {
			switch imported, _ := strconv.Unquote(spec.Path.Value); imported {
			case "gopkg.in/gomail.v2":
				name = "gomail"
				if spec.Name != nil {
					name = spec.Name.Name
				}
			case "net/smtp":
				t.Errorf("%s imports net/smtp", path)
			}
		}
		if name == "" {
			return nil
		}
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == name {
				used++
				if !slices.Contains([]string{"NewMessage", "Message"}, selector.Sel.Name) {
					t.Errorf("%s uses gomail.%s", path, selector.Sel.Name)
				}
			}
			if selector.Sel.Name == "DialAndSend" {
				t.Errorf("%s calls DialAndSend", path)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if used == 0 {
		t.Error("gomail is used nowhere: this test would prove nothing")
	}
}
