package worker_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
)

// docOf returns the doc comments of the types of package worker, and its files.
func docOf(t *testing.T) (docs map[string]string, files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	docs = map[string]string{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				if s, ok := s.(*ast.TypeSpec); ok {
					docs[s.Name.Name] = g.Doc.Text() + s.Doc.Text()
				}
			}
		}
	}
	return docs, files
}

// The comment of Handler lists every cause that ends its context.
func TestHandlerNamesItsCauses(t *testing.T) {
	docs, files := docOf(t)
	ends := []string{"end", "interrupt", "leaveBehind", "endWork", "WithTimeoutCause", "cancel"}
	causes := map[string]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(ends, selector.Sel.Name) {
				return true
			}
			for _, a := range call.Args {
				if id, ok := a.(*ast.Ident); ok && strings.HasPrefix(id.Name, "Err") {
					causes[id.Name] = true
				}
			}
			return true
		})
	}
	if len(causes) < 6 {
		t.Fatalf("found only the causes %v: this test would prove little", causes)
	}
	for cause := range causes {
		if !strings.Contains(docs["Handler"], "["+cause+"]") {
			t.Errorf("the comment of Handler does not name %s", cause)
		}
	}
}

// The comment of Config lists the fields whose zero value is not Celery's default. The
// comment of each of these fields tells its default.
func TestConfigNamesItsExceptions(t *testing.T) {
	docs, files := docOf(t)
	_, list, _ := strings.Cut(docs["Config"], "except for")
	_, list, _ = strings.Cut(list, ":")
	list, _, _ = strings.Cut(list, ".")
	named := regexp.MustCompile(`\w+`).FindAllString(list, -1)
	named = slices.DeleteFunc(named, func(w string) bool { return w == "and" })
	want := []string{"AcksEarly", "UnknownTasks", "MaxRedeliveries", "Limits", "Grace", "PrefetchMultiplier"}
	if !slices.Equal(named, want) {
		t.Errorf("named are %v, want %v", named, want)
	}
	comments := map[string]string{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok && s.Name.Name == "Config" {
				for _, field := range s.Type.(*ast.StructType).Fields.List {
					for _, name := range field.Names {
						comments[name.Name] = field.Doc.Text()
					}
				}
			}
			return true
		})
	}
	for _, name := range named {
		if _, ok := reflect.TypeFor[worker.Config]().FieldByName(name); !ok {
			t.Errorf("there is no field %s", name)
		}
		if !strings.Contains(comments[name], "efault") {
			t.Errorf("the comment of %s does not tell its default: %s", name, comments[name])
		}
	}
}

// A bound of retries means the same in a Definition, in a Task and in a RetryError.
func TestRetryBoundsMeanTheSame(t *testing.T) {
	for name, tc := range map[string]struct {
		most int
		last bool // the first attempt is the last one
	}{
		"none":      {worker.NoRetries, true},
		"one":       {1, false},
		"unlimited": {worker.UnlimitedRetries, false},
	} {
		if got := (&worker.Task{MaxRetries: tc.most}).LastAttempt(); got != tc.last {
			t.Errorf("%s: LastAttempt of the task is %t", name, got)
		}
		b := start(t, worker.Config{Tasks: map[string]worker.Definition{
			"definition": {MaxRetries: tc.most, Handler: retries(nil)},
			"error":      {Handler: retries(&tc.most)},
		}})
		want := map[bool]string{true: "FAILURE", false: "RETRY"}[tc.last]
		for _, task := range []string{"definition", "error"} {
			id := b.send(t, task)
			b.eventually(t, name+": "+task+" is in state "+want, func() bool { return b.status(id) == want })
		}
	}
}

// retries asks for a retry, with a bound of its own unless most is nil.
func retries(most *int) worker.Handler {
	return worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
		return nil, &worker.RetryError{MaxRetries: most}
	})
}
