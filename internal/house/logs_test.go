package house_test

import (
	"go/ast"
	"go/types"
	"slices"
	"testing"
)

// logCalls are the methods of *slog.Logger that take attributes.
var logCalls = []string{"Debug", "Info", "Warn", "Error", "Log", "DebugContext", "InfoContext", "WarnContext", "ErrorContext", "With"}

// Durations in the log are numbers of seconds. A time.Duration would be a number
// of nanoseconds in JSON and "1m0s" in text.
func TestDurationsInLogs(t *testing.T) {
	t.Parallel()
	all, fset := typed(t, "./...")
	calls := 0
	for _, p := range all {
		if within(p.types.Path(), "bench") {
			continue
		}
		for _, file := range p.files {
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if ok && isLogCall(p.info, call) {
					calls++
					for _, arg := range call.Args {
						if isDuration(p.info, arg) {
							t.Errorf("%s: a duration is logged; log its Seconds()", fset.Position(arg.Pos()))
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
