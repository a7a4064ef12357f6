package house_test

import (
	"fmt"
	"go/ast"
	"os"
	"slices"
	"strings"
	"testing"
)

// architecturePage is the document whose generated parts are held to the code.
const architecturePage = "docs/architecture.md"

// TestArchitecturePage holds the picture, the locks and the goroutines of the page to the
// code.
func TestArchitecturePage(t *testing.T) {
	page := read(t, architecturePage)
	want := page
	for name, text := range map[string]string{
		"packages":   picture(list(t)),
		"locks":      locks(t),
		"lock order": lockOrder(t),
		"layers":     layers(t),
		"goroutines": goroutines(t),
	} {
		begin, end := "<!-- "+name+": make documents -->\n", "<!-- end of "+name+" -->"
		before, rest, ok := strings.Cut(want, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no lines %q and %q", architecturePage, begin, end)
		}
		want = before + begin + "\n" + text + "\n" + end + after
	}
	if want == page {
		return
	}
	if !*update {
		t.Fatalf("%s is not that of the code; run make documents", architecturePage)
	}
	if err := os.WriteFile(architecturePage, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// isProduct reports whether a package, by its path from the root, is part of the product.
func isProduct(path string) bool {
	for _, h := range append(harness, "cmd") {
		if path == h || strings.HasPrefix(path, h+"/") {
			return false
		}
	}
	return !strings.HasSuffix(path, "test") // test kits
}

// picture draws the packages of the product as a Mermaid chart. An arrow means "imports";
// arrows that follow from others are left out.
func picture(packages []goPackage) string {
	imports := map[string][]string{}
	for _, p := range packages {
		name, ok := strings.CutPrefix(p.ImportPath, module+"/")
		if !ok || !isProduct(name) {
			continue
		}
		imports[name] = nil
		for _, i := range p.Imports {
			if other, ok := strings.CutPrefix(i, module+"/"); ok && isProduct(other) {
				imports[name] = append(imports[name], other)
			}
		}
	}
	var reaches func(from, to string) bool
	reaches = func(from, to string) bool {
		return slices.ContainsFunc(imports[from], func(i string) bool { return i == to || reaches(i, to) })
	}
	names := make([]string, 0, len(imports))
	for name := range imports {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("```mermaid\nflowchart TD\n")
	id := func(name string) string { return strings.NewReplacer("/", "_", "-", "_").Replace(name) }
	for _, name := range names {
		fmt.Fprintf(&b, "    %s[%s]\n", id(name), name)
	}
	for _, name := range names {
		slices.Sort(imports[name])
		for _, to := range imports[name] {
			if !slices.ContainsFunc(imports[name], func(other string) bool { return other != to && reaches(other, to) }) {
				fmt.Fprintf(&b, "    %s --> %s\n", id(name), id(to))
			}
		}
	}
	b.WriteString("```\n")
	return b.String()
}

// locks lists the types of the product that have a lock.
func locks(t *testing.T) string {
	t.Helper()
	all, _ := sources(t)
	var rows []string
	for _, s := range all {
		if s.isTest() || !isProduct(s.folder()) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			str, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range str.Fields.List {
				if isLock(f.Type) {
					names := []string{"(embedded)"}
					if len(f.Names) > 0 {
						names = nil
						for _, name := range f.Names {
							names = append(names, "`"+name.Name+"`")
						}
					}
					rows = append(rows, fmt.Sprintf("| `%s` | `%s` | %s | `%s` |", s.folder(), spec.Name.Name, strings.Join(names, ", "), base(s.path)))
				}
			}
			return true
		})
	}
	slices.Sort(rows)
	return "| package | type | lock | file |\n|---|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
}

func base(path string) string { return path[strings.LastIndex(path, "/")+1:] }

func isLock(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "sync" && (sel.Sel.Name == "Mutex" || sel.Sel.Name == "RWMutex")
}

// goroutines lists the functions of the product that start goroutines.
func goroutines(t *testing.T) string {
	t.Helper()
	all, _ := sources(t)
	var rows []string
	for _, s := range all {
		if s.isTest() || !isProduct(s.folder()) {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := 0
			ast.Inspect(f, func(node ast.Node) bool {
				switch node := node.(type) {
				case *ast.GoStmt:
					n++
				case *ast.CallExpr:
					// Go of a sync.WaitGroup or an errgroup.Group
					if sel, ok := node.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(node.Args) == 1 {
						n++
					}
				}
				return true
			})
			if n == 0 {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				name = receiverName(f.Recv.List[0].Type) + "." + name
			}
			rows = append(rows, fmt.Sprintf("| `%s` | `%s` | %d | `%s` |", s.folder(), name, n, base(s.path)))
		}
	}
	slices.Sort(rows)
	return "| package | function | starts | file |\n|---|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
}
