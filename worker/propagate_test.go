package worker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

const (
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	state  = "vendor=value"
)

// seen collects what each task, by its name, was sent with.
type seen struct {
	mu sync.Mutex
	m  map[string][]*protocol.Message
}

func (s *seen) note(m *protocol.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string][]*protocol.Message{}
	}
	s.m[m.Task] = append(s.m[m.Task], m)
}

func (s *seen) of(task string) []*protocol.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.m[task])
}

// everything is a task that leads to messages of every kind, and who notes them.
func everything(s *seen) (*canvas.Signature, map[string]worker.Definition) {
	note := func(then func(ctx context.Context, t *worker.Task) (any, error)) worker.Definition {
		return worker.Definition{Handler: worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
			s.note(t.Message)
			if then == nil {
				return 1, nil
			}
			return then(ctx, t)
		})}
	}
	sends := func(ctx context.Context, t *worker.Task) (any, error) {
		if t.Retries == 0 {
			return nil, &worker.RetryError{Countdown: -1}
		}
		// With a context of its own, as a careless handler does.
		_, err := t.Send(context.Background(), canvas.New("sent"))
		return 1, err
	}
	return canvas.Chain(
			canvas.New("first").Link(canvas.New("link")),
			canvas.Group(canvas.New("member"), canvas.New("member")),
			canvas.New("body").LinkError(canvas.New("errback")),
		), map[string]worker.Definition{
			"first": note(sends), "sent": note(nil), "link": note(nil), "member": note(nil), "errback": note(nil), "replacement": note(nil),
			"body": note(func(_ context.Context, t *worker.Task) (any, error) {
				return nil, worker.Replace(canvas.Chain(canvas.New("replacement"), canvas.New("fails")))
			}),
			"fails": note(func(context.Context, *worker.Task) (any, error) { return nil, errors.New("no") }),
		}
}

// times is how often each task of everything is published.
var times = map[string]int{"first": 2, "sent": 1, "link": 1, "member": 2, "body": 1, "replacement": 1, "fails": 1, "errback": 1}

// A worker that knows nothing of traces passes them on, whatever it publishes.
func TestTraceIsPassedOn(t *testing.T) {
	var s seen
	sig, tasks := everything(&s)
	b := start(t, worker.Config{Tasks: tasks, Publishing: worker.Publishing{DefaultQueue: "q"}})
	sig.SetOption("headers", map[string]any{"traceparent": parent, "tracestate": state})
	if _, err := b.client(t).Send(t.Context(), sig); err != nil {
		t.Fatal(err)
	}
	for task, n := range times {
		b.eventually(t, "all of "+task, func() bool { return len(s.of(task)) == n })
		for _, m := range s.of(task) {
			if p, st := string(m.Header("traceparent")), string(m.Header("tracestate")); p != `"`+parent+`"` || st != `"`+state+`"` {
				t.Errorf("%s, attempt %d, has %s, %s", task, m.Retries, p, st)
			}
		}
	}
}

func TestTraceOfItsOwn(t *testing.T) {
	header := func(name, value string) protocol.Header {
		return protocol.Header{Name: name, Value: protocol.Raw(value)}
	}
	quoted := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for name, tc := range map[string]struct {
		have []protocol.Header
		own  map[string]any
		want []string // of what is sent
	}{
		"none":                  {nil, nil, []string{"", ""}},
		"its own":               {[]protocol.Header{header("traceparent", `"a"`), header("tracestate", `"b"`)}, map[string]any{"traceparent": "c"}, []string{`"c"`, ""}},
		"too large":             {[]protocol.Header{header("traceparent", quoted(129)), header("tracestate", `"b"`)}, nil, []string{"", ""}},
		"state that is large":   {[]protocol.Header{header("traceparent", quoted(128)), header("tracestate", quoted(1025))}, nil, []string{quoted(128), ""}},
		"state without a trace": {[]protocol.Header{header("tracestate", `"b"`)}, nil, []string{"", ""}},
		"no text":               {[]protocol.Header{header("traceparent", `{"a": 1}`), header("tracestate", `"b"`)}, nil, []string{"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			var s seen
			b := start(t, worker.Config{Publishing: worker.Publishing{DefaultQueue: "q"}, Tasks: map[string]worker.Definition{
				"outer": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
					inner := canvas.New("inner")
					if tc.own != nil {
						inner.SetOption("headers", tc.own)
					}
					_, err := task.Send(ctx, inner)
					return nil, err
				})},
				"inner": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) { s.note(task.Message); return nil, nil })},
			}})
			b.send(t, "outer", func(m *protocol.Message) { m.Headers = tc.have })
			b.eventually(t, "inner has run", func() bool { return len(s.of("inner")) == 1 })
			m := s.of("inner")[0]
			if got := []string{string(m.Header("traceparent")), string(m.Header("tracestate"))}; !slices.Equal(got, tc.want) {
				t.Errorf("sent with %q, want %q", got, tc.want)
			}
		})
	}
}

type tenantKey struct{}

// The hook sees every message, with what the middleware knows.
func TestBeforePublish(t *testing.T) {
	var s seen
	sig, tasks := everything(&s)
	publishing := worker.Publishing{DefaultQueue: "q", BeforePublish: func(ctx context.Context, m *protocol.Message) {
		from := "client"
		if task, ok := worker.TaskFrom(ctx); ok {
			from = task.Name
		}
		tenant, _ := ctx.Value(tenantKey{}).(string)
		if m.RoutingKey != "q" || m.ID == "" {
			t.Errorf("%s is on its way to %q with the id %q", m.Task, m.RoutingKey, m.ID)
		}
		raw, err := protocol.Marshal([]any{from, tenant, m.Retries})
		if err != nil {
			t.Error(err)
		}
		m.SetHeader("from", raw)
		m.SetHeader("retries", protocol.Raw("99")) // is none of its headers
	}}
	tenant := func(next worker.Handler) worker.Handler {
		return worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			return next.Run(context.WithValue(ctx, tenantKey{}, "acme of "+task.Name), task)
		})
	}
	b := start(t, worker.Config{Tasks: tasks, Publishing: publishing, Middleware: []worker.Middleware{tenant}})
	c, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: publishing})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(context.WithValue(t.Context(), tenantKey{}, "acme"), sig); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"first": {`["client", "acme", 0]`, `["first", "acme of first", 1]`}, "link": {`["first", "acme of first", 0]`},
		"sent":   {`["first", "", 0]`}, // its handler threw the context away
		"member": {`["first", "acme of first", 0]`, `["first", "acme of first", 0]`}, "body": {`["member", "acme of member", 0]`},
		"replacement": {`["body", "acme of body", 0]`}, "fails": {`["replacement", "acme of replacement", 0]`},
		"errback": {`["fails", "acme of fails", 0]`},
	}
	for task, n := range times {
		b.eventually(t, "all of "+task, func() bool { return len(s.of(task)) == n })
		var got []string
		for _, m := range s.of(task) {
			got = append(got, string(m.Header("from")))
			if task != "first" && m.Retries != 0 {
				t.Errorf("%s has %d retries", task, m.Retries)
			}
		}
		if !slices.Equal(got, want[task]) {
			t.Errorf("%s came from %s, want %s", task, got, want[task])
		}
	}
}

// A hook that panics costs its message, and no worker.
func TestBeforePublishPanics(t *testing.T) {
	hook := worker.Publishing{BeforePublish: func(context.Context, *protocol.Message) { panic("oh") }}
	b := start(t, worker.Config{Publishing: hook, Tasks: map[string]worker.Definition{
		"send":  {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) { return task.Send(ctx, canvas.New("t")) })},
		"retry": {Handler: do(func(context.Context) (any, error) { return nil, worker.Retry(nil) })},
		"t":     {Handler: do(func(context.Context) (any, error) { return nil, nil })},
	}})
	for task, link := range map[string]bool{"send": false, "retry": false, "t": true} {
		id := b.send(t, task, func(m *protocol.Message) {
			if link {
				m.Callbacks = protocol.Raw(`[{"task": "t", "args": [], "kwargs": {}, "options": {}, "subtask_type": null, "immutable": true}]`)
			}
		})
		b.eventually(t, task+" has failed", func() bool { return b.status(id) == "FAILURE" })
	}
	c, err := worker.NewClient(worker.ClientConfig{Backend: workertest.NewBroker(), Publishing: hook})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), canvas.New("t")); err == nil || !strings.Contains(err.Error(), "BeforePublish") {
		t.Errorf("Send: %v", err)
	}
}

func TestStateAfter(t *testing.T) {
	ended := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		return ctx
	}
	ctx := context.Background()
	var broken *nilError
	for name, tc := range map[string]struct {
		ctx     context.Context
		retries int
		err     error
		want    string
	}{
		"success":                    {ctx, 0, nil, "SUCCESS"},
		"failure":                    {ctx, 0, errors.New("no"), "FAILURE"},
		"error that cannot be read":  {ctx, 0, broken, "FAILURE"},
		"retry":                      {ctx, 2, worker.Retry(nil), "RETRY"},
		"retries used up":            {ctx, 3, worker.Retry(nil), "FAILURE"},
		"reject":                     {ctx, 0, worker.Reject("no"), "REJECTED"},
		"requeue":                    {ctx, 0, worker.Requeue("no"), "REJECTED"},
		"ignore":                     {ctx, 0, worker.ErrIgnore, "IGNORED"},
		"replace":                    {ctx, 0, worker.Replace(canvas.New("t")), "IGNORED"},
		"give up":                    {ctx, 0, worker.GiveUp(1, "no"), "SUCCESS"},
		"soft limit":                 {ended(worker.ErrSoftTimeLimit), 0, context.Canceled, "FAILURE"},
		"soft limit, done":           {ended(worker.ErrSoftTimeLimit), 0, nil, "SUCCESS"},
		"hard limit, done too late":  {ended(worker.ErrTimeLimit), 0, nil, "FAILURE"},
		"revoked, done all the same": {ended(worker.ErrRevoked), 0, nil, "REVOKED"},
		"stopped":                    {ended(worker.ErrStopped), 0, context.Canceled, ""},
		"stopped in the middle of":   {ended(worker.ErrStopped), 0, worker.Retry(nil), ""},
		"lost":                       {ended(worker.ErrLost), 0, errors.New("no"), ""},
	} {
		task := &worker.Task{Name: "t", MaxRetries: 3, Retries: tc.retries}
		if got := worker.StateAfter(tc.ctx, task, tc.err); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
