// Package bound limits what the templates of an operator can do: the functions that they call,
// the size of their output, and the number of their steps.
package bound

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// Bounds of one execution of a template.
const (
	MaxBytes = 256 << 10
	MaxSteps = 20_000
	maxText  = 16 << 10 // bytes of a text that a function returns or takes
)

// Errors of a [Writer].
var (
	ErrSize  = fmt.Errorf("writes more than %d bytes; write less, or repeat less", MaxBytes)
	ErrSteps = fmt.Errorf("takes more than %d steps; repeat less: a range has too many values", MaxSteps)
)

// denied are the functions of text/template that templates of mails have no use for, and that
// make texts grow or call what the data holds.
var denied = []string{"call", "html", "js", "urlquery"}

// Functions returns replacements of the functions of text/template that make texts of any length.
func Functions() template.FuncMap {
	return template.FuncMap{
		"print":   func(args ...any) (string, error) { return short(fmt.Sprint, args) },
		"println": func(args ...any) (string, error) { return short(fmt.Sprintln, args) },
		"printf": func(format string, args ...any) (string, error) {
			return short(func(args ...any) string { return fmt.Sprintf(format, args...) }, args)
		},
	}
}

var errText = errors.New("the text is too long")

// short returns a text that is not too long.
func short(make func(...any) string, args []any) (string, error) {
	if s := make(args...); len(s) <= maxText {
		return s, nil
	}
	return "", errText
}

// Short returns an error for a text that is too long for a function.
func Short(s string) error {
	if len(s) > maxText {
		return errText
	}
	return nil
}

// Writer takes the output of templates whose trees [Count] has changed. It is for one execution.
type Writer struct {
	Buffer *bytes.Buffer
	steps  int
}

// Write implements [io.Writer]. Its error ends the execution.
func (w *Writer) Write(p []byte) (int, error) {
	if w.steps++; w.steps > MaxSteps {
		return 0, ErrSteps
	}
	if w.Buffer.Len()+len(p) > MaxBytes {
		return 0, ErrSize
	}
	return w.Buffer.Write(p)
}

// A Call is a function that a template must not call.
type Call struct {
	Name string
	Line int
}

// Denied returns the calls in a tree that are not allowed.
func Denied(t *parse.Tree) (all []Call) {
	walk(t.Root, func(n parse.Node) {
		if id, ok := n.(*parse.IdentifierNode); ok && slices.Contains(denied, id.Ident) {
			all = append(all, Call{id.Ident, lineOf(t, n)})
		}
	})
	return all
}

// Cycle returns a call by which a template calls itself, over others or not; false: there is none.
func Cycle(trees map[string]*parse.Tree) (in *parse.Tree, found Call, ok bool) {
	const entered, left = 1, 2
	state := map[string]int{}
	var visit func(name string) bool
	visit = func(name string) bool {
		t := trees[name]
		if t == nil || t.Root == nil || state[name] == left {
			return false
		}
		state[name] = entered
		walk(t.Root, func(n parse.Node) {
			call, isCall := n.(*parse.TemplateNode)
			if !isCall || ok {
				return
			}
			if state[call.Name] == entered {
				in, found, ok = t, Call{call.Name, lineOf(t, n)}, true
				return
			}
			visit(call.Name)
		})
		state[name] = left
		return ok
	}
	for name := range trees {
		if visit(name) {
			return in, found, true
		}
	}
	return nil, Call{}, false
}

// lineOf returns the line of a node.
func lineOf(t *parse.Tree, n parse.Node) int {
	where, _ := t.ErrorContext(n) // name:line:column
	where = where[:max(strings.LastIndexByte(where, ':'), 0)]
	line, _ := strconv.Atoi(where[strings.LastIndexByte(where, ':')+1:]) // 0: not known
	return line
}

// Count puts an empty text before each node of a list. A template writes its texts, also empty
// ones, so that a [Writer] counts the steps of loops that print nothing.
func Count(t *parse.Tree) {
	walk(t.Root, func(n parse.Node) {
		list, ok := n.(*parse.ListNode)
		if !ok || list == nil {
			return
		}
		counted := make([]parse.Node, 0, 2*len(list.Nodes)+1)
		counted = append(counted, &parse.TextNode{NodeType: parse.NodeText})
		for _, child := range list.Nodes {
			counted = append(counted, child)
			if child.Type() == parse.NodeAction || child.Type() == parse.NodeTemplate {
				counted = append(counted, &parse.TextNode{NodeType: parse.NodeText})
			}
		}
		list.Nodes = counted
	})
}

// walk calls do for a node, and then for all nodes below it.
func walk(n parse.Node, do func(parse.Node)) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		children := n.Nodes
		do(n)
		for _, c := range children {
			walk(c, do)
		}
	case *parse.ActionNode:
		walk(n.Pipe, do)
	case *parse.TemplateNode:
		do(n)
		walk(n.Pipe, do)
	case *parse.IfNode:
		walkBranch(&n.BranchNode, do)
	case *parse.RangeNode:
		walkBranch(&n.BranchNode, do)
	case *parse.WithNode:
		walkBranch(&n.BranchNode, do)
	case *parse.PipeNode:
		if n == nil {
			return
		}
		for _, c := range n.Cmds {
			walk(c, do)
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			walk(a, do)
		}
	case *parse.ChainNode:
		walk(n.Node, do)
	case *parse.IdentifierNode:
		do(n)
	}
}

func walkBranch(b *parse.BranchNode, do func(parse.Node)) {
	walk(b.Pipe, do)
	walk(b.List, do)
	walk(b.ElseList, do)
}
