package web

import (
	"errors"
	"fmt"
	"html/template"
	"reflect"
	"text/template/parse"
)

// checkCalls finds calls of the functions of templates with a wrong number of values, in
// conditions that are rarely true, too. html/template notices them only as it comes there.
func checkCalls(t *template.Template, funcs template.FuncMap) error {
	if t.Tree == nil {
		return nil
	}
	var errs []error
	eachPipe(t.Tree.Root, func(p *parse.PipeNode) {
		for i, c := range p.Cmds {
			name, ok := c.Args[0].(*parse.IdentifierNode)
			if !ok || funcs[name.Ident] == nil {
				continue
			}
			given := len(c.Args) - 1
			if i > 0 {
				given++ // the value before the |
			}
			takes := reflect.TypeOf(funcs[name.Ident])
			if want := takes.NumIn(); takes.IsVariadic() && given < want-1 || !takes.IsVariadic() && given != want {
				errs = append(errs, fmt.Errorf("template %s: {{%s}}: %s has %d values, want %d", t.Name(), p, name.Ident, given, want))
			}
		}
	})
	return errors.Join(errs...)
}

// eachPipe calls visit with each pipeline below n.
func eachPipe(n parse.Node, visit func(*parse.PipeNode)) {
	branch := func(b *parse.BranchNode) {
		eachPipe(b.Pipe, visit)
		eachPipe(b.List, visit)
		eachPipe(b.ElseList, visit)
	}
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil { // no {{else}}
			return
		}
		for _, each := range n.Nodes {
			eachPipe(each, visit)
		}
	case *parse.ActionNode:
		eachPipe(n.Pipe, visit)
	case *parse.TemplateNode:
		eachPipe(n.Pipe, visit)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.ChainNode:
		eachPipe(n.Node, visit)
	case *parse.PipeNode:
		if n == nil { // {{template "x"}}
			return
		}
		visit(n)
		for _, c := range n.Cmds {
			for _, arg := range c.Args {
				eachPipe(arg, visit)
			}
		}
	}
}
