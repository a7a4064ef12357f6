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
	"strings"
	"sync"
	"testing"
)

// typedPackage is a package of this module with its types, without its tests.
type typedPackage struct {
	path  string // from the root
	asked bool   // matches a pattern; others are dependencies
	files []*ast.File
	types *types.Package
	info  *types.Info
}

// typed type-checks packages of this module and their imports, from the bottom up.
// An object of one package is the same object wherever another package uses it.
func typed(t *testing.T, patterns ...string) (all []typedPackage, fset *token.FileSet) {
	t.Helper()
	checkedOnce.mu.Lock()
	defer checkedOnce.mu.Unlock()
	key := strings.Join(patterns, " ")
	if c, ok := checkedOnce.by[key]; ok {
		return c.all, c.fset
	}
	all, fset = check(t, patterns...)
	checkedOnce.by[key] = checkedPackages{all, fset}
	return all, fset
}

type checkedPackages struct {
	all  []typedPackage
	fset *token.FileSet
}

// checkedOnce keeps what typed returns, by its patterns.
var checkedOnce = struct {
	mu sync.Mutex
	by map[string]checkedPackages
}{by: map[string]checkedPackages{}}

func check(t *testing.T, patterns ...string) (all []typedPackage, fset *token.FileSet) {
	t.Helper()
	listed := compile(t, patterns...)
	fset = token.NewFileSet()
	own := ownImporter{own: map[string]*types.Package{}}
	own.other = importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(listed.exports[path]) })
	for _, p := range listed.own {
		checked := typedPackage{
			path: strings.TrimPrefix(p.ImportPath, module+"/"), asked: !p.DepOnly,
			info: &types.Info{
				Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{},
				Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
			},
		}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			checked.files = append(checked.files, file)
		}
		var err error
		if checked.types, err = (&types.Config{Importer: own}).Check(p.ImportPath, fset, checked.files, checked.info); err != nil {
			t.Fatal(err)
		}
		own.own[p.ImportPath] = checked.types
		all = append(all, checked)
	}
	return all, fset
}

// ownImporter imports the packages of this module from their sources.
type ownImporter struct {
	own   map[string]*types.Package
	other types.Importer
}

func (i ownImporter) Import(path string) (*types.Package, error) {
	if p, ok := i.own[path]; ok {
		return p, nil
	}
	return i.other.Import(path)
}

// compiledPackage is what "go list -export" prints of a package.
type compiledPackage struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
}

type compiledPackages struct {
	own     []compiledPackage // of this module, from the bottom up
	exports map[string]string // the compiled types of each package, by its import path
}

// compile compiles packages and what they import.
func compile(t *testing.T, patterns ...string) compiledPackages {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly"}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	listed := compiledPackages{exports: map[string]string{}}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p compiledPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		listed.exports[p.ImportPath] = p.Export
		if within(p.ImportPath, module) || p.ImportPath == module {
			listed.own = append(listed.own, p)
		}
	}
	if len(listed.own) == 0 {
		t.Fatalf("no packages %q: this test would prove nothing", patterns)
	}
	return listed
}
