package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// deepError panics, some calls down.
func deepError(n int) (any, error) {
	if n == 0 {
		panic("oh")
	}
	return deepError(n - 1)
}

// TestTracebacks: what Celery stores as a traceback is there for every failure that has
// one in Celery, in Python's form, and for no other.
func TestTracebacks(t *testing.T) {
	no := &worker.Exception{Type: "ValueError", Args: []any{"no"}}
	fails := func(err error) worker.Definition {
		return worker.Definition{Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, err })}
	}
	slow := worker.HandlerFunc(func(ctx context.Context, _ *worker.Task) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
	for name, tc := range map[string]struct {
		d    worker.Definition
		last string // line of the traceback; "": there is none
		in   string // the traceback has it too
	}{
		"plain error":     {fails(errors.New("smtp down")), "Exception: smtp down", `File "<go>", line 1, in t`},
		"named":           {fails(no), "ValueError: no", ""},
		"wrapped":         {fails(fmt.Errorf("look up 7: %w", no)), "ValueError: no", "\n    look up 7: ValueError: no\n"},
		"of a module":     {fails(&worker.Exception{Type: "Refund", Module: "shop", Args: []any{"no", 42}}), "shop.Refund: ('no', 42)", ""},
		"without words":   {fails(&worker.Exception{Type: "KeyError"}), "KeyError", ""},
		"key":             {fails(&worker.Exception{Type: "KeyError", Args: []any{"k"}}), "KeyError: 'k'", ""},
		"panic":           {worker.Definition{Handler: do(func(context.Context) (any, error) { return deepError(2) })}, "RuntimeError: panic: oh", "in github.com/evently/workers/worker_test.deepError\n"},
		"soft limit":      {worker.Definition{Handler: slow, SoftTimeLimit: time.Millisecond}, "billiard.exceptions.SoftTimeLimitExceeded: SoftTimeLimitExceeded()", ""},
		"hard limit":      {worker.Definition{Handler: slow, TimeLimit: time.Millisecond}, "", ""},
		"reject":          {fails(worker.Reject("no thanks")), "", ""},
		"retry":           {fails(&worker.RetryError{Countdown: 90 * time.Minute}), "celery.exceptions.Retry: Retry in 5400s", ""},
		"retry, caused":   {fails(&worker.RetryError{Countdown: 1500 * time.Millisecond, Err: no}), "celery.exceptions.Retry: Retry in 1.5s: ValueError('no')", ""},
		"no more retries": {worker.Definition{Handler: fails(worker.Retry(nil)).Handler, MaxRetries: worker.NoRetries}, "celery.exceptions.MaxRetriesExceededError: Can't retry t[id] args:() kwargs:{}", ""},
		"wrong arguments": {worker.Definition{Handler: worker.Func(func(context.Context, struct{ X int }) (any, error) { return nil, nil })}, "TypeError: t() missing required argument: 'x'", ""},
		"not encodable":   {worker.Definition{Handler: do(func(context.Context) (any, error) { return make(chan int), nil })}, "kombu.exceptions.EncodeError: TypeError('Object of type chan int is not JSON serializable: JSON has no such type')", ""},
		"replaced by nothing": {fails(worker.Replace(canvas.Chain())),
			"celery.exceptions.ImproperlyConfigured: Cannot replace with an empty chain", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, worker.Config{Tasks: map[string]worker.Definition{"t": tc.d}})
			b.send(t, "t", func(m *protocol.Message) { m.ID = "id" })
			b.eventually(t, "it has ended", func() bool { s := b.status("id"); return s == "FAILURE" || s == "RETRY" })
			checkTraceback(t, b.Result("id").Traceback, tc.last, tc.in)
		})
	}
}

func checkTraceback(t *testing.T, traceback *string, last, in string) {
	t.Helper()
	if last == "" || traceback == nil {
		if last != "" || traceback != nil {
			t.Errorf("traceback is %v, want one that ends with %q", traceback, last)
		}
		return
	}
	lines := strings.Split(strings.TrimSuffix(*traceback, "\n"), "\n")
	if lines[0] != "Traceback (most recent call last):" || !strings.HasPrefix(lines[1], `  File "`) || lines[len(lines)-1] != last || !strings.Contains(*traceback, in) {
		t.Errorf("traceback is\n%s\nwant Python's form, %q in it and the end %q", *traceback, in, last)
	}
}

// TestMaxRetriesShowsArguments: as in Celery the text has the arguments, those of the
// attempt that is not made. Secrets are hidden as in events.
func TestMaxRetriesShowsArguments(t *testing.T) {
	for name, tc := range map[string]struct {
		err          *worker.RetryError
		args, kwargs string
		repr         string // what the producer shows
		want         string
	}{
		"arguments":     {&worker.RetryError{}, `[1, [2]]`, `{"a": "x"}`, "", `args:(1, [2]) kwargs:{'a': 'x'}`},
		"one":           {&worker.RetryError{}, `["x"]`, `{}`, "['x']", `args:('x',) kwargs:{}`},
		"secret":        {&worker.RetryError{}, `[1]`, `{"otp": "493817"}`, "", `args:(1,) kwargs:{'otp': '[redacted]'}`},
		"secret beside": {&worker.RetryError{Args: []any{"code 493817"}}, `[1]`, `{"otp": "493817"}`, "", `args:('code [redacted]',) kwargs:{'otp': '[redacted]'}`},
		"others":        {&worker.RetryError{Args: []any{3}, Kwargs: map[string]any{"b": 4}}, `[1]`, `{"a": 2}`, "", `args:(3,) kwargs:{'b': 4}`},
		"hidden":        {&worker.RetryError{}, `[1]`, `{}`, "(...)", `args:(...) kwargs:{}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, worker.Config{Tasks: map[string]worker.Definition{"t": {MaxRetries: worker.NoRetries,
				Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, tc.err })}}})
			b.send(t, "t", func(m *protocol.Message) {
				m.ID, m.Args, m.Kwargs, m.ArgsRepr = "id", protocol.Raw(tc.args), protocol.Raw(tc.kwargs), tc.repr
			})
			b.eventually(t, "it has failed", func() bool { return b.status("id") == "FAILURE" })
			if got, want := b.Result("id").Exception.Args, []any{"Can't retry t[id] " + tc.want}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// failed sends a workflow and waits until a task of it has failed.
func (b *bench) failed(t *testing.T, s *canvas.Signature, id string) *protocol.Result {
	t.Helper()
	if _, err := b.client(t).Send(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, id+" has failed", func() bool { return b.status(id) == "FAILURE" })
	return b.Result(id)
}

func named(id string, s *canvas.Signature) *canvas.Signature {
	return s.Set(canvas.Options{TaskID: id})
}

// TestRestOfChainIsExtended: with result_extended the failures that are stored for
// tasks that will never run have names and arguments, as in Celery.
func TestRestOfChainIsExtended(t *testing.T) {
	for _, extended := range []bool{true, false} {
		b := start(t, worker.Config{Name: "w@h", ResultExtended: extended, Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
		chord := canvas.Chord([]*canvas.Signature{canvas.New("add", 3), canvas.New("add", 4)}, named("body", canvas.New("sum")))
		b.failed(t, canvas.Chain(canvas.New("fail"), named("next", canvas.New("add", 2).Kwarg("k", "v")), chord), "body")
		b.eventually(t, "all have failed", func() bool { return b.status("next") == "FAILURE" })
		for id, want := range map[string]string{
			"next": `"name": "add", "args": [2], "kwargs": {"k": "v"}, "worker": null, "retries": 0, "queue": null`,
			"body": `"name": "sum", "args": [], "kwargs": {}, "worker": null, "retries": 0, "queue": null`,
		} {
			text, err := protocol.EncodeResult(b.Result(id))
			if err != nil {
				t.Fatal(err)
			}
			if has := strings.Contains(string(text), want); has != extended || strings.Contains(string(text), `"name"`) != extended {
				t.Errorf("extended %v: %s is %s, want %s", extended, id, text, want)
			}
		}
		b.stop(t)
	}
}

// TestChordFailures: the failures that the end of a header makes have tracebacks,
// and error callbacks that are called in place get values, never their JSON.
func TestChordFailures(t *testing.T) {
	args := []any{"a", int64(1), nil, []any{1.5, map[string]any{"k": "v"}}, true}
	for name, tc := range map[string]struct {
		body      func(errback *canvas.Signature) *canvas.Signature
		exception worker.Exception // that the callback gets
		last      string           // of the traceback
	}{
		"task": {func(e *canvas.Signature) *canvas.Signature { return named("body", canvas.New("sum")).LinkError(e) },
			worker.Exception{Type: "ChordError", Module: "celery.exceptions", Args: []any{"Dependency member raised Custom('a', 1, None, [1.5, {'k': 'v'}], True)"}},
			"celery.exceptions.ChordError: Dependency member raised Custom('a', 1, None, [1.5, {'k': 'v'}], True)"},
		"group": {func(e *canvas.Signature) *canvas.Signature {
			return canvas.Group(named("body", canvas.New("sum")).LinkError(e), canvas.New("sum"))
		}, worker.Exception{Type: "Custom", Module: "m", Args: args}, "m.Custom: ('a', 1, None, [1.5, {'k': 'v'}], True)"},
	} {
		t.Run(name, func(t *testing.T) {
			called := make(chan *worker.FailedTask, 1)
			tasks := arithmetic()
			tasks["custom"] = worker.Definition{Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
				return nil, &worker.Exception{Type: "Custom", Module: "m", Args: args}
			})}
			tasks["call"] = worker.Definition{Handler: tasks["fail"].Handler,
				ErrorCallback: func(_ context.Context, f *worker.FailedTask) error { called <- f; return nil }}
			b := start(t, worker.Config{Tasks: tasks, Publishing: worker.Publishing{DefaultQueue: "q"}})
			header := []*canvas.Signature{canvas.New("add", 1, 2), named("member", canvas.New("custom"))}
			res := b.failed(t, canvas.Chord(header, tc.body(canvas.New("call"))), "body")
			checkTraceback(t, res.Traceback, tc.last, "in celery.chord")
			if diff := cmp.Diff(&tc.exception, (<-called).Exception); diff != "" {
				t.Errorf("callback got (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAfterChunks: celery.chunks as a task returns the handle of its group. As in
// Celery a task that would get the handle fails it, and one that gets none does not.
func TestAfterChunks(t *testing.T) {
	chunks := func() *canvas.Signature {
		return named("chunks", canvas.Chunks(canvas.New("add"), 1, []int{1, 2}, []int{3, 4}))
	}
	group := func() *canvas.Signature {
		part := canvas.New("add", 1, 2)
		return named("chunks", canvas.New("celery.chord").Kwarg("header", []any{part}).Kwarg("body", canvas.New("sum")))
	}
	for name, tc := range map[string]struct {
		sig   *canvas.Signature
		class string // "": all goes well
	}{
		"chain":           {canvas.Chain(chunks(), named("next", canvas.New("sum"))), "GroupResult"},
		"immutable chain": {canvas.Chain(chunks(), named("next", canvas.New("add", 1, 2).Immutable(true))), ""},
		"chord":           {canvas.Chain(group(), named("next", canvas.New("sum"))), "AsyncResult"},
		"immutable chord": {canvas.Chain(group(), named("next", canvas.New("add", 1, 2).Immutable(true))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
			if _, err := b.client(t).Send(t.Context(), tc.sig); err != nil {
				t.Fatal(err)
			}
			b.eventually(t, "the end", func() bool { return b.status("next") != "" && b.status("chunks") != "" })
			got := b.Result("chunks")
			if tc.class == "" {
				if got.Status != "SUCCESS" || b.status("next") != "SUCCESS" {
					t.Errorf("ended as %s and %s, want SUCCESS", got.Status, b.status("next"))
				}
				return
			}
			want := &protocol.Exception{Type: "EncodeError", Module: "kombu.exceptions", Args: []any{"TypeError('Object of type " + tc.class + " is not JSON serializable')"}}
			if diff := cmp.Diff(want, got.Exception); got.Status != "FAILURE" || diff != "" {
				t.Errorf("ended as %s (-want +got):\n%s", got.Status, diff)
			}
			if diff := cmp.Diff(want, b.Result("next").Exception); diff != "" {
				t.Errorf("what follows (-want +got):\n%s", diff)
			}
		})
	}
}

// TestErrbacksAreNoChildren: the failure is stored before its error callbacks are
// published, says Celery.
func TestErrbacksAreNoChildren(t *testing.T) {
	tasks := arithmetic()
	tasks["report"] = worker.Definition{Handler: worker.Func(func(_ context.Context, in struct{ ID string }) (string, error) { return in.ID, nil })}
	tasks["send"] = worker.Definition{Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
		if _, err := task.Send(ctx, named("sent", canvas.New("add", 1, 2))); err != nil {
			return nil, err
		}
		return nil, errors.New("after that")
	})}
	b := start(t, worker.Config{Tasks: tasks, Publishing: worker.Publishing{DefaultQueue: "q"}})
	res := b.failed(t, named("id", canvas.New("send")).LinkError(named("reported", canvas.New("report"))), "id")
	b.eventually(t, "the callback has run", func() bool { return b.status("reported") == "SUCCESS" })
	if got := string(res.Children); got != `[[["sent", null], null]]` {
		t.Errorf("children are %s, want the task that was sent", got)
	}
}

// TestHardLimitIsWhole: a limit of whole seconds is an integer in Celery's exception.
func TestHardLimitIsWhole(t *testing.T) {
	slow := worker.HandlerFunc(func(ctx context.Context, _ *worker.Task) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{"t": {Handler: slow, TimeLimit: time.Second}}})
	id := b.send(t, "t")
	b.eventually(t, "the limit", func() bool { return b.status(id) == "FAILURE" })
	text, err := protocol.EncodeResult(b.Result(id))
	if err != nil || !strings.Contains(string(text), `"exc_message": [1],`) {
		t.Errorf("stored is %s, %v, want the limit as 1", text, err)
	}
}
