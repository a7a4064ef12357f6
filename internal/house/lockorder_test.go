package house_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"slices"
	"strings"
	"testing"
)

// lock names a lock by its type and field, so that all values of the type have one: an
// order of locks is one of types.
type lock string

// nesting is a lock that is taken while another is held.
type nesting struct{ outer, inner lock }

// TestLockOrder fails when locks could be taken in a circle. Each nesting is listed in
// docs/architecture.md, which TestArchitecturePage holds to the code.
func TestLockOrder(t *testing.T) {
	t.Parallel()
	found := nestings(t, "./...")
	if len(found) < 5 {
		t.Errorf("%d nested locks found: this test proves nothing", len(found))
	}
	for _, c := range lockCycle(found) {
		t.Errorf("locks are taken in a circle: %s", c)
	}
}

// TestLockOrderCanFail holds the search to a package with nested locks of each form.
func TestLockOrderCanFail(t *testing.T) {
	t.Parallel()
	const path = "internal/house/testdata/locks"
	found := nestings(t, "./"+path)
	var got []string
	for n := range found {
		got = append(got, strings.ReplaceAll(string(n.outer+" > "+n.inner), path+".", ""))
	}
	slices.Sort(got)
	want := []string{"a.mu > b.mu", "a.mu > c.mu", "c.mu > b.mu", "d.mu > c.mu"}
	if !slices.Equal(got, want) {
		t.Errorf("nestings %q, want %q", got, want)
	}
	if c := lockCycle(found); len(c) != 0 {
		t.Errorf("circles %q", c)
	}
	found[nesting{path + ".b.mu", path + ".a.mu"}] = "b.call"
	if c := lockCycle(found); len(c) == 0 {
		t.Error("no circle found")
	}
}

// lockCycle returns the locks of a circle, nil when there is none.
func lockCycle(found map[nesting]string) []string {
	inner := map[lock][]lock{}
	for n := range found {
		inner[n.outer] = append(inner[n.outer], n.inner)
	}
	var path []string
	done := map[lock]bool{}
	var visit func(l lock) []string
	visit = func(l lock) []string {
		if at := slices.Index(path, string(l)); at >= 0 {
			return append(slices.Clone(path[at:]), string(l))
		}
		if done[l] {
			return nil
		}
		path = append(path, string(l))
		defer func() { path = path[:len(path)-1] }()
		done[l] = true
		for _, next := range slices.Sorted(slices.Values(inner[l])) {
			if c := visit(next); c != nil {
				return c
			}
		}
		return nil
	}
	for _, l := range slices.Sorted(maps.Keys(inner)) {
		if c := visit(l); c != nil {
			return []string{strings.Join(c, " > ")}
		}
	}
	return nil
}

// lockOrder lists the nested locks of the product for docs/architecture.md.
func lockOrder(t *testing.T) string {
	t.Helper()
	var rows []string
	for n, through := range nestings(t, "./...") {
		rows = append(rows, fmt.Sprintf("| `%s` | `%s` | `%s` |", n.outer, n.inner, through))
	}
	slices.Sort(rows)
	return "| held | taken meanwhile | by |\n|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
}

// nestings finds the nested locks of packages, each with a function that holds the outer
// lock.
//
// It follows calls of functions and methods. A call through an interface of this module
// counts as a call of every implementation, so a nesting can be listed that no program has.
// A function literal counts as called where it is passed or deferred, unless the callee is
// one of laterCalls. A function that is assigned to a field counts as called where the field
// is. The search does not follow other function values, such as parameters, calls that leave
// the module and come back, nor TryLock, which never waits.
func nestings(t *testing.T, patterns ...string) map[nesting]string {
	t.Helper()
	all, _ := typed(t, patterns...)
	s := lockSearch{functions: map[*types.Func]*lockUse{}, literals: map[*ast.FuncLit]*lockUse{}, fields: map[*types.Var][]functionValue{}, methods: map[*types.Func][]*lockUse{}}
	for _, p := range all {
		if p.asked && (isProduct(p.path) || len(all) == 1) {
			s.add(p)
		}
	}
	s.close()
	return s.nestings()
}

// laterCalls are functions that call an argument later, on another goroutine or never
// within the call.
var laterCalls = []string{
	"time.AfterFunc", "context.AfterFunc", "sync.OnceFunc", "(*sync.WaitGroup).Go", "(*golang.org/x/sync/errgroup.Group).Go",
	"(*" + module + "/worker/internal/pool.soloGate).waited", // by a timer
}

// lockUse is how a function uses locks.
type lockUse struct {
	name  string
	takes map[lock]bool // by itself, and once lockSearch.close was called, by what it calls
	inner []nested      // by itself
	calls []lockedCall
}

type nested struct {
	held  []lock
	taken lock
}

type lockedCall struct {
	held   []lock
	callee types.Object // a *types.Func, or the *types.Var of a field that holds a function
}

// functionValue is what is assigned to a field: one of its fields is set.
type functionValue struct {
	object  types.Object // a function, or another field
	literal *ast.FuncLit
}

type lockSearch struct {
	functions map[*types.Func]*lockUse
	types     []*types.Named                 // implementations of interfaces
	literals  map[*ast.FuncLit]*lockUse      // that run by themselves
	fields    map[*types.Var][]functionValue // functions in fields
	methods   map[*types.Func][]*lockUse     // what a method of an interface may be, once all is added
}

// add reads the functions of a package.
func (s *lockSearch) add(p typedPackage) {
	for _, name := range p.types.Scope().Names() {
		if tn, ok := p.types.Scope().Lookup(name).(*types.TypeName); ok && !tn.IsAlias() {
			if named, ok := tn.Type().(*types.Named); ok && !types.IsInterface(named) {
				s.types = append(s.types, named)
			}
		}
	}
	for _, file := range p.files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				s.assign(p, n.Key, n.Value)
			case *ast.AssignStmt:
				for i := range min(len(n.Lhs), len(n.Rhs)) {
					s.assign(p, n.Lhs[i], n.Rhs[i])
				}
			}
			return true
		})
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			object := p.info.Defs[f.Name].(*types.Func)
			name := f.Name.Name
			if f.Recv != nil {
				name = receiverName(f.Recv.List[0].Type) + "." + name
			}
			w := &lockWalk{s: s, p: p, use: &lockUse{name: p.path + "." + name, takes: map[lock]bool{}}, closures: map[types.Object]*ast.FuncLit{}}
			w.block(f.Body.List, nil)
			s.functions[object] = w.use
		}
	}
}

// assign notes a function that is assigned to a field.
func (s *lockSearch) assign(p typedPackage, to, value ast.Expr) {
	field, ok := named(p, to).(*types.Var)
	if !ok || !field.IsField() {
		return
	}
	if lit, ok := value.(*ast.FuncLit); ok {
		s.fields[field.Origin()] = append(s.fields[field.Origin()], functionValue{literal: lit})
	} else if o := named(p, value); o != nil {
		s.fields[field.Origin()] = append(s.fields[field.Origin()], functionValue{object: o})
	}
}

// named returns the object that an expression names, nil for none.
func named(p typedPackage, e ast.Expr) types.Object {
	e = ast.Unparen(e)
	switch i := e.(type) {
	case *ast.IndexExpr:
		e = i.X
	case *ast.IndexListExpr:
		e = i.X
	}
	switch e := e.(type) {
	case *ast.Ident:
		return p.info.Uses[e]
	case *ast.SelectorExpr:
		return p.info.Uses[e.Sel]
	}
	return nil
}

// uses returns all functions and function literals.
func (s *lockSearch) uses() []*lockUse {
	return slices.AppendSeq(slices.Collect(maps.Values(s.functions)), maps.Values(s.literals))
}

// close adds to each function the locks that it takes through others.
func (s *lockSearch) close() {
	for changed := true; changed; {
		changed = false
		for _, f := range s.uses() {
			for _, c := range f.calls {
				for _, callee := range s.callees(c.callee) {
					for l := range callee.takes {
						if !f.takes[l] {
							f.takes[l], changed = true, true
						}
					}
				}
			}
		}
	}
}

// callees returns the functions that a call may reach: one, or the methods of all types that
// implement an interface, or the functions assigned to a field.
func (s *lockSearch) callees(callee types.Object) []*lockUse {
	if v, ok := callee.(*types.Var); ok {
		return s.assigned(v.Origin(), nil)
	}
	f := callee.(*types.Func)
	if use, ok := s.functions[f.Origin()]; ok {
		return []*lockUse{use}
	}
	receiver := f.Signature().Recv()
	if receiver == nil || f.Pkg() == nil || !within(f.Pkg().Path(), module) {
		return nil
	}
	iface, ok := receiver.Type().Underlying().(*types.Interface)
	if !ok {
		return nil
	}
	uses, known := s.methods[f]
	if known {
		return uses
	}
	for _, t := range s.types {
		if !types.Implements(types.NewPointer(t), iface) {
			continue
		}
		method, _, _ := types.LookupFieldOrMethod(types.NewPointer(t), true, f.Pkg(), f.Name())
		if m, ok := method.(*types.Func); ok {
			if use, ok := s.functions[m.Origin()]; ok {
				uses = append(uses, use)
			}
		}
	}
	s.methods[f] = uses
	return uses
}

// assigned returns the functions that a field may hold. seen are fields that were copied to
// it.
func (s *lockSearch) assigned(field *types.Var, seen []*types.Var) (uses []*lockUse) {
	for _, value := range s.fields[field] {
		switch o := value.object.(type) {
		case *types.Func:
			uses = append(uses, s.callees(o)...)
		case *types.Var:
			if !slices.Contains(seen, o.Origin()) {
				uses = append(uses, s.assigned(o.Origin(), append(seen, field))...)
			}
		default:
			if use := s.literals[value.literal]; use != nil {
				uses = append(uses, use)
			}
		}
	}
	return uses
}

func (s *lockSearch) nestings() map[nesting]string {
	found := map[nesting]string{}
	note := func(held []lock, taken lock, by string) {
		for _, h := range held {
			n := nesting{h, taken}
			if old, ok := found[n]; !ok || by < old {
				found[n] = by
			}
		}
	}
	for _, f := range s.uses() {
		for _, n := range f.inner {
			note(n.held, n.taken, f.name)
		}
		for _, c := range f.calls {
			for _, callee := range s.callees(c.callee) {
				for l := range callee.takes {
					note(c.held, l, f.name)
				}
			}
		}
	}
	return found
}

// lockWalk follows the statements of one function with the locks that are held.
type lockWalk struct {
	s        *lockSearch
	p        typedPackage
	use      *lockUse
	closures map[types.Object]*ast.FuncLit // variables that hold a function literal
	open     []*ast.FuncLit                // that are walked, so that recursion ends
	left     []lock                        // held where a loop or a switch is left by a branch
}

// block returns the locks that are held after some statements; ends is true when control
// does not get there.
func (w *lockWalk) block(list []ast.Stmt, held []lock) (after []lock, ends bool) {
	for _, s := range list {
		if held, ends = w.statement(s, held); ends {
			return held, true
		}
	}
	return held, false
}

func (w *lockWalk) statement(s ast.Stmt, held []lock) (after []lock, ends bool) {
	switch s := s.(type) {
	case *ast.BlockStmt:
		return w.block(s.List, held)
	case *ast.LabeledStmt:
		return w.statement(s.Stmt, held)
	case *ast.IfStmt:
		if s.Init != nil {
			held, _ = w.statement(s.Init, held)
		}
		held = w.expression(s.Cond, held)
		then, thenEnds := w.block(s.Body.List, held)
		other, otherEnds := held, false
		if s.Else != nil {
			other, otherEnds = w.statement(s.Else, held)
		}
		switch {
		case thenEnds:
			return other, otherEnds
		case otherEnds:
			return then, false
		}
		return union(then, other), false
	case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
		return w.branching(s, held), false
	case *ast.ReturnStmt:
		for _, e := range s.Results {
			held = w.expression(e, held)
		}
		return held, true
	case *ast.BranchStmt:
		w.left = union(w.left, held)
		return held, true
	case *ast.DeferStmt:
		if name, _ := w.lockCall(s.Call); name == "" { // else it is held to the end
			w.expression(s.Call, held)
		}
		return held, false
	case *ast.GoStmt:
		for _, e := range append(slices.Clone(s.Call.Args), s.Call.Fun) {
			w.later(e, held)
		}
		return held, false
	}
	return w.expression(s, held), false
}

// branching walks a loop or a switch. Any branch may have been taken after it, or none.
func (w *lockWalk) branching(s ast.Stmt, held []lock) []lock {
	outside := w.left
	w.left = nil
	var bodies [][]ast.Stmt
	switch s := s.(type) {
	case *ast.ForStmt:
		if s.Init != nil {
			held, _ = w.statement(s.Init, held)
		}
		if s.Cond != nil {
			held = w.expression(s.Cond, held)
		}
		bodies = append(bodies, s.Body.List)
		if s.Post != nil {
			bodies = append(bodies, []ast.Stmt{s.Post})
		}
	case *ast.RangeStmt:
		held = w.expression(s.X, held)
		bodies = append(bodies, s.Body.List)
	case *ast.SwitchStmt:
		if s.Init != nil {
			held, _ = w.statement(s.Init, held)
		}
		if s.Tag != nil {
			held = w.expression(s.Tag, held)
		}
		bodies = clauses(s.Body)
	case *ast.TypeSwitchStmt:
		if s.Init != nil {
			held, _ = w.statement(s.Init, held)
		}
		held, _ = w.statement(s.Assign, held)
		bodies = clauses(s.Body)
	case *ast.SelectStmt:
		bodies = clauses(s.Body)
	}
	after := held
	for _, body := range bodies {
		if then, ends := w.block(body, held); !ends {
			after = union(after, then)
		}
	}
	after = union(after, w.left)
	w.left = outside
	return after
}

// clauses returns the statements of each case, with its conditions before them.
func clauses(body *ast.BlockStmt) (bodies [][]ast.Stmt) {
	for _, s := range body.List {
		switch s := s.(type) {
		case *ast.CaseClause:
			var all []ast.Stmt
			for _, e := range s.List {
				all = append(all, &ast.ExprStmt{X: e})
			}
			bodies = append(bodies, append(all, s.Body...))
		case *ast.CommClause:
			if s.Comm == nil {
				bodies = append(bodies, s.Body)
			} else {
				bodies = append(bodies, append([]ast.Stmt{s.Comm}, s.Body...))
			}
		}
	}
	return bodies
}

// expression walks the calls of a node that has no statements but those of function
// literals.
func (w *lockWalk) expression(n ast.Node, held []lock) []lock {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			w.remember(n)
		case *ast.FuncLit:
			w.later(n, held) // called by another function, or through a variable
			return false
		case *ast.CallExpr:
			held = w.call(n, held)
			return false
		}
		return true
	})
	return held
}

// remember notes the function literals that variables hold.
func (w *lockWalk) remember(a *ast.AssignStmt) {
	for i, e := range a.Rhs {
		if lit, ok := e.(*ast.FuncLit); ok && len(a.Lhs) == len(a.Rhs) {
			if id, ok := a.Lhs[i].(*ast.Ident); ok {
				if o := cmp.Or(w.p.info.Defs[id], w.p.info.Uses[id]); o != nil {
					w.closures[o] = lit
				}
			}
		}
	}
}

func (w *lockWalk) call(c *ast.CallExpr, held []lock) []lock {
	if l, method := w.lockCall(c); l != "" {
		switch method {
		case "Lock", "RLock":
			w.use.takes[l] = true
			w.use.inner = append(w.use.inner, nested{slices.Clone(held), l})
			return union(held, []lock{l})
		case "Unlock", "RUnlock":
			return slices.DeleteFunc(slices.Clone(held), func(h lock) bool { return h == l })
		}
		return held
	}
	callee := w.callee(c)
	called, _ := callee.(*types.Func)
	isLater := called != nil && slices.Contains(laterCalls, called.Origin().FullName())
	for _, arg := range c.Args {
		lit, ok := arg.(*ast.FuncLit)
		switch {
		case isLater:
			w.later(arg, held)
		case ok:
			w.literal(lit, held)
		default:
			held = w.expression(arg, held)
		}
	}
	switch f := ast.Unparen(c.Fun).(type) {
	case *ast.FuncLit:
		w.literal(f, held)
	case *ast.Ident:
		if lit := w.closures[w.p.info.Uses[f]]; lit != nil {
			w.literal(lit, held)
		}
	default:
		held = w.expression(f, held)
	}
	if callee != nil {
		w.use.calls = append(w.use.calls, lockedCall{slices.Clone(held), callee})
	}
	return held
}

// literal walks a function literal that is called here. It gives back what it takes.
func (w *lockWalk) literal(lit *ast.FuncLit, held []lock) {
	if !slices.Contains(w.open, lit) {
		w.open = append(w.open, lit)
		w.block(lit.Body.List, held)
		w.open = w.open[:len(w.open)-1]
	}
}

// later walks a function literal that runs by itself, without the locks that are held here.
func (w *lockWalk) later(e ast.Expr, held []lock) {
	lit, ok := e.(*ast.FuncLit)
	if !ok {
		w.expression(e, held)
		return
	}
	alone := &lockWalk{s: w.s, p: w.p, closures: w.closures, use: &lockUse{name: w.use.name, takes: map[lock]bool{}}}
	alone.block(lit.Body.List, nil)
	w.s.literals[lit] = alone.use
}

// callee returns the function that a call names, or the field that holds it; nil for other
// function values and for conversions.
func (w *lockWalk) callee(c *ast.CallExpr) types.Object {
	switch o := named(w.p, c.Fun).(type) {
	case *types.Func:
		return o
	case *types.Var:
		if o.IsField() {
			return o
		}
	}
	return nil
}

// lockCall returns the lock and the method when a call is one of a lock, else "".
func (w *lockWalk) lockCall(c *ast.CallExpr) (l lock, method string) {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	f, ok := w.p.info.Uses[sel.Sel].(*types.Func)
	if !ok || f.Pkg() == nil || f.Pkg().Path() != "sync" || f.Signature().Recv() == nil {
		return "", ""
	}
	if r := f.Signature().Recv().Type().String(); r != "*sync.Mutex" && r != "*sync.RWMutex" {
		return "", ""
	}
	switch x := sel.X.(type) {
	case *ast.SelectorExpr:
		if s := w.p.info.Selections[x]; s != nil {
			owner := s.Recv()
			for i := range s.Index()[:len(s.Index())-1] { // through embedded fields
				owner = field(owner, s.Index()[i]).Type()
			}
			return lock(typeName(owner) + "." + x.Sel.Name), f.Name()
		}
		return lock(w.p.path + "." + x.Sel.Name), f.Name()
	case *ast.Ident:
		return lock(w.use.name + "." + x.Name), f.Name() // a variable
	}
	return lock(w.use.name + ".lock"), f.Name()
}

func field(owner types.Type, i int) *types.Var {
	if p, ok := owner.Underlying().(*types.Pointer); ok {
		owner = p.Elem()
	}
	return owner.Underlying().(*types.Struct).Field(i)
}

// typeName returns the name of a type by its package's path from the root.
func typeName(t types.Type) string {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok {
		return t.String()
	}
	o := named.Origin().Obj()
	return strings.TrimPrefix(o.Pkg().Path(), module+"/") + "." + o.Name()
}

// union returns the locks of both sets.
func union(a, b []lock) []lock {
	all := slices.Clone(a)
	for _, l := range b {
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}
