package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

func TestClientRunsWorkflows(t *testing.T) {
	b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
	add := func(args ...any) *canvas.Signature { return canvas.New("add", args...) }
	for name, tc := range map[string]struct {
		sig  *canvas.Signature
		want string
	}{
		"task":          {add(1, 2), "3"},
		"chain":         {canvas.Chain(add(1, 2), add(3), add(4)), "10"},
		"group":         {canvas.Group(add(1, 2), add(3, 4)), "[3, 7]"},
		"chord":         {canvas.Chord([]*canvas.Signature{add(1, 2), add(3, 4)}, canvas.New("sum")), "10"},
		"chord in one":  {canvas.Chain(add(1, 1), canvas.Group(add(1), add(2)), canvas.New("sum"), add(5)), "12"},
		"chord of ones": {canvas.Chord([]*canvas.Signature{canvas.Chord([]*canvas.Signature{add(1, 1)}, canvas.New("sum")), add(1, 1)}, canvas.New("sum")), "4"},
		"map":           {canvas.Map(canvas.New("sum"), []int{1, 2}, []int{3}), "[3, 3]"},
		"starmap":       {canvas.Starmap(add(), []int{1, 2}, []int{3, 4}), "[3, 7]"},
		"chunks":        {canvas.Chunks(add(), 2, []int{1, 2}, []int{3, 4}, []int{5, 6}), "[[3, 7], [11]]"},
	} {
		t.Run(name, func(t *testing.T) {
			var got protocol.Raw
			if err := b.get(t, tc.sig, &got); err != nil || string(got) != tc.want {
				t.Errorf("got %s, %v, want %s", got, err, tc.want)
			}
		})
	}
	b.eventually(t, "all is acknowledged", func() bool { return len(b.Queued("q")) == 0 && b.Unacked() == 0 })
}

func TestClientGetsFailures(t *testing.T) {
	b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
	for name, sig := range map[string]*canvas.Signature{
		"task":         canvas.New("fail"),
		"chain":        canvas.Chain(canvas.New("fail"), canvas.New("add", 1)),
		"group":        canvas.Group(canvas.New("add", 1, 2), canvas.New("fail")),
		"chord header": canvas.Chord([]*canvas.Signature{canvas.New("add", 1, 2), canvas.New("fail")}, canvas.New("sum")),
	} {
		t.Run(name, func(t *testing.T) {
			err := b.get(t, sig, nil)
			e, ok := errors.AsType[*worker.Exception](err)
			if !ok || e.Type != "ValueError" && e.Type != "ChordError" {
				t.Errorf("got %v, want ValueError or the ChordError that it leads to", err)
			}
		})
	}
}

func TestHandleSurvivesAsJSON(t *testing.T) {
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{
		"add": arithmetic()["add"],
		"send": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			return task.Send(ctx, canvas.Group(canvas.New("add", 1, 2), canvas.New("add", 3, 4)))
		})},
	}, Publishing: worker.Publishing{DefaultQueue: "q"}})
	ctx := context.Background()
	r, err := b.client(t).Send(ctx, canvas.New("send"))
	if err != nil {
		t.Fatal(err)
	}
	var tuple [2]json.RawMessage
	if err := r.Get(ctx, &tuple); err != nil {
		t.Fatal(err)
	}
	children, err := r.Children(ctx)
	if err != nil || len(children) != 1 || !children[0].IsGroup() || len(children[0].Members) != 2 {
		t.Fatalf("children are %+v, %v, want one group of two", children, err)
	}
	var got []int
	if err := children[0].Get(ctx, &got); err != nil || !slices.Equal(got, []int{3, 7}) {
		t.Errorf("group gave %v, %v", got, err)
	}
	if err := children[0].Save(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := b.client(t).Group(ctx, children[0].ID)
	if err != nil || again == nil || len(again.Members) != 2 || again.Members[1].ID != children[0].Members[1].ID {
		t.Errorf("restored %+v, %v", again, err)
	}
	if err := again.Forget(ctx); err != nil {
		t.Fatal(err)
	}
	if state, err := again.Members[0].State(ctx); state != "PENDING" || err != nil {
		t.Errorf("forgotten member is %q, %v", state, err)
	}
	m := b.Result(children[0].Members[0].ID)
	if m != nil {
		t.Errorf("forgotten result is there: %+v", m)
	}
}

func TestIDsOfWhatATaskSends(t *testing.T) {
	ids := make(chan [2]string, 1)
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{
		"outer": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			_, err := task.Send(ctx, canvas.New("inner"))
			return nil, err
		})},
		"inner": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
			ids <- [2]string{task.RootID, task.ParentID}
			return nil, nil
		})},
	}, Publishing: worker.Publishing{DefaultQueue: "q"}})
	id := b.send(t, "outer", func(m *protocol.Message) { m.RootID = "root" })
	if got := <-ids; got != [2]string{"root", id} {
		t.Errorf("root and parent are %v, want root and %s", got, id)
	}
}

func TestReplace(t *testing.T) {
	b := start(t, worker.Config{Tasks: map[string]worker.Definition{
		"add": arithmetic()["add"], "sum": arithmetic()["sum"],
		"replaced": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, worker.Replace(canvas.Group(canvas.New("add", 1, 2), canvas.New("add", 3, 4)))
		})},
		"by nothing": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			return nil, worker.Replace(canvas.Chain())
		})},
	}, Publishing: worker.Publishing{DefaultQueue: "q"}})
	var got int
	if err := b.get(t, canvas.Chain(canvas.New("replaced"), canvas.New("sum")), &got); err != nil || got != 10 {
		t.Errorf("got %d, %v, want 10", got, err)
	}
	err := b.get(t, canvas.New("by nothing"), nil)
	if e, ok := errors.AsType[*worker.Exception](err); !ok || e.Type != "ImproperlyConfigured" || e.Module != "celery.exceptions" {
		t.Errorf("replaced by an empty chain: %v, want ImproperlyConfigured", err)
	}
}

func TestErrorCallbacks(t *testing.T) {
	called := make(chan *worker.FailedTask, 1)
	messaged := make(chan string, 1)
	tasks := map[string]worker.Definition{
		"fail": arithmetic()["fail"],
		"old": {Handler: worker.Func(func(_ context.Context, in struct{ ID string }) (any, error) {
			messaged <- in.ID
			return nil, nil
		})},
		"new": {Handler: do(func(context.Context) (any, error) { return nil, errors.New("called by message") }),
			ErrorCallback: func(_ context.Context, f *worker.FailedTask) error { called <- f; panic("in a callback") }},
	}
	b := start(t, worker.Config{Tasks: tasks, Publishing: worker.Publishing{DefaultQueue: "q"}})
	ctx := context.Background()
	r, err := b.client(t).Send(ctx, canvas.New("fail").LinkError(canvas.New("old"), canvas.New("new", "label")))
	if err != nil {
		t.Fatal(err)
	}
	f := <-called
	if f.ID != r.ID || f.Exception.Type != "ValueError" || string(f.Args) != `["label"]` {
		t.Errorf("callback was told of %+v", f)
	}
	if id := <-messaged; id != r.ID {
		t.Errorf("message is about %s, want %s", id, r.ID)
	}
	b.eventually(t, "the failure is stored", func() bool { return b.status(r.ID) == "FAILURE" })
}

// A caller that waits for a chord finds its error callback among the children of the body
// that never ran.
func TestChordErrorHasChildren(t *testing.T) {
	tasks := arithmetic()
	tasks["report"] = worker.Definition{Handler: worker.Func(func(_ context.Context, in struct{ ID string }) (string, error) { return in.ID, nil })}
	b := start(t, worker.Config{Tasks: tasks, Publishing: worker.Publishing{DefaultQueue: "q"}})
	ctx := context.Background()
	chord := canvas.Chord([]*canvas.Signature{canvas.New("add", 1, 2), canvas.New("fail")}, canvas.New("sum").LinkError(canvas.New("report")))
	r, err := b.client(t).Send(ctx, chord)
	if err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "the body has failed", func() bool { return b.status(r.ID) == "FAILURE" })
	children, err := r.Children(ctx)
	if err != nil || len(children) != 1 || len(children[0].Members) != 1 {
		t.Fatalf("children %v, %v, want the group of the error callback", children, err)
	}
	var id string
	if err := children[0].Members[0].Get(ctx, &id); err != nil || id != r.ID {
		t.Errorf("error callback was told of %q, %v, want the body %s", id, err, r.ID)
	}
}

// TestMemberFailsBeforeBody: a client that looks at the members and then at the
// body finds the cause first, however slow it is.
func TestMemberFailsBeforeBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
		r, err := b.client(t).Send(context.Background(), canvas.Chord([]*canvas.Signature{canvas.New("fail")}, canvas.New("sum")))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if member, body := b.status(r.Parent.Members[0].ID), b.status(r.ID); member != "FAILURE" || body != "" {
			t.Errorf("member is in state %q, body in %q; want FAILURE and nothing yet", member, body)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if body := b.status(r.ID); body != "FAILURE" {
			t.Errorf("body is in state %q, want FAILURE", body)
		}
		b.stop(t)
	})
}
