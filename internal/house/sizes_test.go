package house_test

import (
	"go/ast"
	"go/token"
	"testing"
)

// Bounds of the product's code. A file, type or function beyond them wants to be two.
const (
	mostMethods          = 45  // of a type
	mostInterfaceMethods = 10  // of an interface, without embedded ones
	mostPackageFiles     = 25  // without tests
	mostFileLines        = 400 // without tests
	mostComplexity       = 20  // cyclomatic, of a function
)

// larger holds what may exceed a bound, with the reason. An entry whose object is within
// the bound is a fault, too.
var larger = map[string]string{
	"function worker/protocol.fields.slot":                 "a table: one case for each header of Celery and kombu, read for each message without an allocation",
	"function worker/protocol/internal/yaml.scanner.fetch": "a table: one case for each kind of token, in the order of PyYAML, which decides",
}

func TestSizes(t *testing.T) {
	all, _ := sources(t)
	sizes := map[string]int{}
	bounds := map[string]int{}
	count := func(name string, n, most int) {
		sizes[name] += n
		bounds[name] = most
	}
	for _, s := range all {
		if s.isTest() || s.isHarness() {
			continue
		}
		count("package "+s.folder(), 1, mostPackageFiles)
		count("file "+s.path, s.lines, mostFileLines)
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name := "function " + s.folder() + "." + d.Name.Name
				if d.Recv != nil {
					receiver := receiverName(d.Recv.List[0].Type)
					count("type "+s.folder()+"."+receiver, 1, mostMethods)
					name = "function " + s.folder() + "." + receiver + "." + d.Name.Name
				}
				count(name, complexity(d), mostComplexity)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if t, ok := spec.(*ast.TypeSpec); ok {
						if i, ok := t.Type.(*ast.InterfaceType); ok {
							count("interface "+s.folder()+"."+t.Name.Name, methods(i), mostInterfaceMethods)
						}
					}
				}
			}
		}
	}
	for name, n := range sizes {
		reason, listed := larger[name]
		switch {
		case n > bounds[name] && !listed:
			t.Errorf("%s: %d, at most %d", name, n, bounds[name])
		case n <= bounds[name] && listed:
			t.Errorf("%s: %d is within the bound, remove its exception (%s)", name, n, reason)
		}
	}
	for name := range larger {
		if _, ok := sizes[name]; !ok {
			t.Errorf("exception for %s, which does not exist", name)
		}
	}
}

func methods(i *ast.InterfaceType) (n int) {
	for _, f := range i.Methods.List {
		n += len(f.Names)
	}
	return n
}

// complexity returns the cyclomatic complexity of a function.
func complexity(d *ast.FuncDecl) int {
	n := 1
	ast.Inspect(d, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if node.List != nil {
				n++
			}
		case *ast.CommClause:
			if node.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if node.Op == token.LAND || node.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}
