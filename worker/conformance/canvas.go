package main

import (
	"context"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// task begins the signature of a task of the suite.
func task(name string, args ...any) *canvas.Signature {
	return canvas.New(module+"."+name, args...)
}

// canvasTasks replace themselves, send other tasks, or return signatures.
func canvasTasks() map[string]worker.Definition {
	tasks := map[string]worker.Definition{
		"chain_add": {Handler: sends(func(in pair) *canvas.Signature {
			return canvas.Chain(task("add", in.X, in.X), task("add", in.Y))
		})},
		"chord_add": {Handler: sends(func(in pair) *canvas.Signature {
			return canvas.Chord([]*canvas.Signature{task("add", in.X, in.X)}, task("add", in.Y))
		})},
		"add_replaced": {Handler: replaces(func(in pair) *canvas.Signature { return task("add", in.X, in.Y) })},
		"add_replaced_with_chain": {Handler: replaces(func(in pair) *canvas.Signature {
			return canvas.Chain(task("add", in.X, in.Y), task("identity"))
		})},
		"fail_replaced": {Handler: worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
			args, err := values(t)
			if err != nil {
				return nil, err
			}
			return nil, worker.Replace(task("fail", args...).Immutable(true))
		})},
		"add_to_all": {Handler: replaces(func(in spread) *canvas.Signature { return canvas.Group(in.each()...) })},
		"replace_with_chain": {Handler: replaceWithChain(func(args []any, echo *canvas.Signature) *canvas.Signature {
			return canvas.Chain(task("identity", args...), task("identity")).Link(echo)
		})},
		"replace_with_chain_which_raises": {Handler: replaceWithChain(func(args []any, echo *canvas.Signature) *canvas.Signature {
			return canvas.Chain(task("identity", args...), task("raise_error")).LinkError(echo)
		})},
		"replace_with_empty_chain": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, worker.Replace(canvas.Chain())
		})},
		"replace_with_chain_which_contains_a_group": {Handler: replaces(func(struct{}) *canvas.Signature {
			return canvas.Chain(task("add", 1, 2), canvas.Group(task("add", 1), task("add", 1)))
		})},
		"replace_with_stamped_task":    {Handler: worker.Func(replaceStamped)},
		"record_replaced_task_nesting": {Handler: worker.Func(recordNesting)},
		"add_to_all_to_chord":          {Handler: worker.Func(addToAllToChord)},
		"add_chord_to_chord":           {Handler: worker.Func(addChordToChord)},
		"build_chain_inside_task":      {Handler: worker.Func(buildChain)},
		"rebuild_signature":            {Handler: worker.Func(rebuild)},
	}
	add := func() *canvas.Signature { return task("add") }
	of := map[string]func(*canvas.Signature) *canvas.Signature{
		"chain": func(s *canvas.Signature) *canvas.Signature { return canvas.Chain(s) },
		"group": func(s *canvas.Signature) *canvas.Signature { return canvas.Group(s) },
		"chord": func(s *canvas.Signature) *canvas.Signature { return canvas.Chord([]*canvas.Signature{s}, add()) },
	}
	for outer, wrap := range of {
		for inner, make := range of {
			tasks["return_nested_signature_"+outer+"_"+inner] = worker.Definition{
				Handler: worker.Func(func(context.Context, struct{}) (*canvas.Signature, error) { return wrap(make(add())), nil }),
			}
		}
	}
	return tasks
}

type pair struct{ X, Y any }

// spread is a list of numbers and the addend of each.
type spread struct {
	Nums []any
	Val  any
}

func (s spread) each() []*canvas.Signature {
	tasks := make([]*canvas.Signature, len(s.Nums))
	for i, n := range s.Nums {
		tasks[i] = task("add", n, s.Val)
	}
	return tasks
}

func replaces[A any](by func(A) *canvas.Signature) worker.Handler {
	return worker.Func(func(_ context.Context, in A) (any, error) { return nil, worker.Replace(by(in)) })
}

func sends[A any](what func(A) *canvas.Signature) worker.Handler {
	return worker.Func(func(ctx context.Context, in A) (any, error) {
		t, _ := worker.TaskFrom(ctx)
		_, err := t.Send(ctx, what(in))
		return nil, err
	})
}

// replaceWithChain passes its positional arguments on, and links redis_echo:
// with the result, or with a message that is given.
func replaceWithChain(by func(args []any, echo *canvas.Signature) *canvas.Signature) worker.Handler {
	return worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
		args, err := values(t)
		if err != nil {
			return nil, err
		}
		var in struct {
			Message *string `json:"link_msg"`
		}
		if err := keywords(t, &in); err != nil {
			return nil, err
		}
		echo := task("redis_echo")
		if in.Message != nil {
			echo = task("redis_echo", *in.Message).Immutable(true)
		}
		return nil, worker.Replace(by(args, echo))
	})
}

func replaceStamped(_ context.Context, in struct {
	With protocol.Raw `celery:"replace_with,optional"`
}) (any, error) {
	s := task("replaced_with_me")
	if !in.With.IsNull() {
		var err error
		if s, err = canvas.Parse(in.With); err != nil {
			return nil, err
		}
	}
	return nil, &worker.ReplaceError{Signature: s, Stamper: func(*canvas.Signature) canvas.Stamps {
		return canvas.Stamps{"StampOnReplace": "This is the replaced task"}
	}}
}

func recordNesting(ctx context.Context, in struct {
	Replacements int
	Nesting      []int `celery:"nesting,optional"`
}) (any, error) {
	t, _ := worker.TaskFrom(ctx)
	nesting := append(in.Nesting, t.Message.ReplacedTaskNesting)
	if in.Replacements == 0 {
		return nesting, nil
	}
	return nil, worker.Replace(task("record_replaced_task_nesting", in.Replacements-1, nesting))
}

func addToAllToChord(ctx context.Context, in spread) (int, error) {
	t, _ := worker.TaskFrom(ctx)
	for _, s := range in.each() {
		if _, err := t.AddToChord(ctx, s); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func addChordToChord(ctx context.Context, in spread) (int, error) {
	t, _ := worker.TaskFrom(ctx)
	_, err := t.AddToChord(ctx, canvas.Chord(in.each(), task("tsum")))
	return 0, err
}

func buildChain(ctx context.Context, _ struct{}) (*worker.AsyncResult, error) {
	t, _ := worker.TaskFrom(ctx)
	return t.Send(ctx, canvas.Chain(
		task("add", 1, 1), task("add", 2), canvas.Group(task("add", 3), task("add", 4)), task("add", 5),
	))
}

// rebuild fails unless the dictionary and all its parts are signatures.
func rebuild(_ context.Context, in struct {
	Dict protocol.Raw `celery:"sig_dict"`
}) (any, error) {
	if _, err := canvas.Parse(in.Dict); err != nil {
		return nil, worker.TypeError("not a signature object: %v", err)
	}
	return nil, nil
}
