package house_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// logCalls are the methods of *slog.Logger that take attributes.
var logCalls = []string{"Debug", "Info", "Warn", "Error", "Log", "DebugContext", "InfoContext", "WarnContext", "ErrorContext", "With"}

// Durations in the log are numbers of seconds. A time.Duration would be a number
// of nanoseconds in JSON and "1m0s" in text.
func TestDurationsInLogs(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Standard", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	type compiled struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
		Standard                bool
	}
	exports, own := map[string]string{}, []compiled{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p compiled
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, module) && !strings.Contains(p.ImportPath, "/bench") {
			own = append(own, p)
		}
	}
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	calls := 0
	for _, p := range own {
		var parsed []*ast.File
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, file)
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
		if _, err := (&types.Config{Importer: imports}).Check(p.ImportPath, files, parsed, info); err != nil {
			t.Fatal(err)
		}
		for _, file := range parsed {
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if ok && isLogCall(info, call) {
					calls++
					for _, arg := range call.Args {
						if isDuration(info, arg) {
							t.Errorf("%s: a duration is logged; log its Seconds()", files.Position(arg.Pos()))
						}
					}
				}
				return true
			})
		}
	}
	if calls < 50 {
		t.Errorf("%d log calls were found: this test proves nothing", calls)
	}
}

func isLogCall(info *types.Info, call *ast.CallExpr) bool {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains(logCalls, method.Sel.Name) {
		return false
	}
	s := info.Selections[method]
	return s != nil && s.Recv().String() == "*log/slog.Logger"
}

// isDuration reports whether an argument is a duration, or the text of one.
func isDuration(info *types.Info, arg ast.Expr) bool {
	if call, ok := arg.(*ast.CallExpr); ok {
		if method, ok := call.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "String" {
			arg = method.X
		}
	}
	t := info.Types[arg].Type
	return t != nil && t.String() == "time.Duration"
}
