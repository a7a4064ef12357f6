package oteltrace_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/oteltrace"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
	"github.com/evently/workers/worker/workertest"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

// A Python service has a trace: it goes through a Go task, another attempt of it, a
// task that its handler sends, a callback, and a chord, and every span has the
// parent that has caused it.
func TestOneTraceFromPython(t *testing.T) {
	for _, celery := range []string{"celery-5.2", "celery-5"} {
		t.Run(celery, func(t *testing.T) {
			s := redistest.Start(t)
			r := record(t)
			tracing := r.tracing(false)
			tracer := r.provider.Tracer("test")
			nothing := worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return 1, nil })
			tenants := make(chan string, 10)
			stop := run(t, s.URL(0), worker.Config{
				Middleware: []worker.Middleware{tracing.Middleware},
				Publishing: worker.Publishing{DefaultQueue: "q", BeforePublish: tracing.BeforePublish},
				Tasks: map[string]worker.Definition{
					"outer": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
						if task.Retries == 0 {
							return nil, &worker.RetryError{Err: errors.New("not yet"), Countdown: -1}
						}
						ctx, span := tracer.Start(ctx, "work")
						defer span.End()
						_, err := task.Send(ctx, canvas.Chain(
							canvas.New("inner").Link(canvas.New("link").Immutable(true)),
							canvas.Group(canvas.New("member").Immutable(true), canvas.New("member").Immutable(true)), canvas.New("body")))
						return nil, err
					})},
					"inner": {Handler: worker.HandlerFunc(func(ctx context.Context, _ *worker.Task) (any, error) {
						tenants <- baggage.FromContext(ctx).Member("tenant").Value()
						return 1, nil
					})},
					"link": {Handler: nothing}, "member": {Handler: nothing}, "body": {Handler: nothing},
				},
			})
			id := python(t, celery, "testdata/producer.py", s.URL(0), "q", "outer", "00-"+traceID+"-"+spanID+"-01", "vendor=value", "tenant=acme")
			eventually(t, "all have run", func() bool { return len(r.named("run/body")) == 1 && len(r.named("run/link")) == 1 })
			stop()

			for _, span := range r.GetSpans() {
				if span.SpanContext.TraceID().String() != traceID || span.SpanContext.TraceState().Get("vendor") != "value" {
					t.Errorf("%s is in the trace %s with the state %q", span.Name, span.SpanContext.TraceID(), span.SpanContext.TraceState())
				}
			}
			if got := <-tenants; got != "acme" {
				t.Errorf("baggage is %q, want that of the producer", got)
			}
			attempts := r.named("run/outer")
			if len(attempts) != 2 || attempts[0].Parent.SpanID().String() != spanID || !attempts[0].Parent.IsRemote() {
				t.Fatalf("%d attempts, the first below %s, want two and %s", len(attempts), attempts[0].Parent.SpanID(), spanID)
			}
			child := func(of, span tracetest.SpanStub) {
				t.Helper()
				if span.Parent.SpanID() != of.SpanContext.SpanID() {
					t.Errorf("%s is not below %s", span.Name, of.Name)
				}
			}
			retry := r.the(t, "apply_async/outer")
			child(attempts[0], retry)
			child(retry, attempts[1])
			child(attempts[1], r.the(t, "work"))
			child(r.the(t, "work"), r.the(t, "apply_async/inner"))
			child(r.the(t, "apply_async/inner"), r.the(t, "run/inner"))
			for _, next := range []string{"link", "member"} {
				for _, span := range r.named("apply_async/" + next) {
					child(r.the(t, "run/inner"), span)
				}
			}
			child(r.the(t, "apply_async/link"), r.the(t, "run/link"))
			var members []string
			for _, span := range r.named("run/member") {
				members = append(members, span.SpanContext.SpanID().String())
			}
			if body := r.the(t, "apply_async/body"); len(members) != 2 || !slices.Contains(members, body.Parent.SpanID().String()) {
				t.Errorf("the body is below %s, want one of the members %v", body.Parent.SpanID(), members)
			}
			child(r.the(t, "apply_async/body"), r.the(t, "run/body"))

			want := map[string]string{
				"messaging.system": "celery", "messaging.operation.name": "run", "messaging.operation.type": "process",
				"messaging.message.id": id, "messaging.message.conversation_id": id, "messaging.destination.name": "q",
				"celery.action": "run", "celery.task_name": "outer", "celery.state": "RETRY", "celery.retry.reason": "not yet",
			}
			if got := attributes(attempts[0]); !maps.Equal(got, want) {
				t.Errorf("attributes of the first attempt:\n got %v\nwant %v", got, want)
			}
			want["celery.retries"], want["celery.state"] = "1", "SUCCESS"
			delete(want, "celery.retry.reason")
			if got := attributes(attempts[1]); !maps.Equal(got, want) {
				t.Errorf("attributes of the second attempt:\n got %v\nwant %v", got, want)
			}
			want["celery.action"], want["messaging.operation.name"], want["messaging.operation.type"] = "apply_async", "apply_async", "create"
			delete(want, "celery.state")
			if got := attributes(retry); !maps.Equal(got, want) {
				t.Errorf("attributes of the retry:\n got %v\nwant %v", got, want)
			}
			if attempts[0].SpanKind != trace.SpanKindConsumer || retry.SpanKind != trace.SpanKindProducer {
				t.Errorf("kinds are %v and %v", attempts[0].SpanKind, retry.SpanKind)
			}
		})
	}
}

// ran runs one call of a task with that handler and returns its span.
func ran(t *testing.T, h worker.Handler) (tracetest.SpanStub, workertest.Outcome) {
	t.Helper()
	r := record(t)
	h = r.tracing(false).Middleware(h)
	o := workertest.Run(t, map[string]worker.Definition{"t": {Handler: h, MaxRetries: worker.NoRetries, TimeLimit: 100 * time.Millisecond}},
		workertest.Call{Task: "t", Args: []any{"canary-493817"}})
	var span tracetest.SpanStub
	eventually(t, "the span has ended", func() bool {
		spans := r.named("run/t")
		if len(spans) == 1 {
			span = spans[0]
		}
		return len(spans) == 1
	})
	return span, o
}

// brokenError has a method that cannot be called on the nil pointer it often is.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

// The span says how the task ended, and nothing of what it was called with.
func TestEndsOfATask(t *testing.T) {
	var broken *brokenError
	for name, tc := range map[string]struct {
		err         error
		panics      bool
		state, kind string
		failed      bool
		message     string
	}{
		"success":         {state: "SUCCESS"},
		"failure":         {err: errors.New("smtp down"), state: "FAILURE", kind: "*errors.errorString", failed: true, message: "smtp down"},
		"exception":       {err: &worker.Exception{Type: "Refund", Module: "shop.errors", Args: []any{"no"}}, state: "FAILURE", kind: "shop.errors.Refund", failed: true, message: "Refund: no"},
		"builtin":         {err: worker.TypeError("no"), state: "FAILURE", kind: "TypeError", failed: true, message: "TypeError: no"},
		"retries used up": {err: worker.Retry(errors.New("smtp down")), state: "FAILURE", kind: "*errors.errorString", failed: true, message: "smtp down"},
		"reject":          {err: worker.Reject("no"), state: "REJECTED"},
		"ignore":          {err: worker.ErrIgnore, state: "IGNORED"},
		"cannot be read":  {err: broken, state: "FAILURE", kind: "*oteltrace_test.brokenError", failed: true, message: "an error of type *oteltrace_test.brokenError that cannot be read"},
		"panic":           {panics: true, state: "FAILURE", kind: "panic", failed: true, message: "the handler has panicked"},
	} {
		t.Run(name, func(t *testing.T) {
			span, _ := ran(t, worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
				if tc.panics {
					panic("canary-493817")
				}
				return "canary-493817", tc.err
			}))
			got := attributes(span)
			if got["celery.state"] != tc.state || got["error.type"] != tc.kind {
				t.Errorf("state %q, error %q, want %q, %q", got["celery.state"], got["error.type"], tc.state, tc.kind)
			}
			if (span.Status.Code == codes.Error) != tc.failed || span.Status.Description != tc.message {
				t.Errorf("status is %+v, want %q", span.Status, tc.message)
			}
			if events := len(span.Events); (events == 1) != (tc.failed && !tc.panics) {
				t.Errorf("%d events", events)
			}
			for _, e := range span.Events {
				for _, a := range e.Attributes {
					got["event "+string(a.Key)] = a.Value.String()
				}
			}
			for k, v := range got {
				if strings.Contains(v, "493817") {
					t.Errorf("%s is %q", k, v)
				}
			}
		})
	}
	t.Run("time limit", func(t *testing.T) {
		span, o := ran(t, worker.HandlerFunc(func(ctx context.Context, _ *worker.Task) (any, error) { <-ctx.Done(); return 1, nil }))
		if got := attributes(span); got["celery.state"] != "FAILURE" || o.State != "FAILURE" || span.Status.Code != codes.Error {
			t.Errorf("state %q, status %+v, want FAILURE as is stored", got["celery.state"], span.Status)
		}
	})
}

// A run that is linked begins a trace of its own, and what it publishes has nothing
// of the old one.
func TestLinks(t *testing.T) {
	r := record(t)
	tracing := r.tracing(true)
	published := make(chan *protocol.Message, 1)
	h := tracing.Middleware(worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
		m := *task.Message // as what is passed on
		tracing.BeforePublish(ctx, &m)
		published <- &m
		return nil, nil
	}))
	m := &protocol.Message{ID: "i", Task: "t", Headers: []protocol.Header{
		{Name: "traceparent", Value: protocol.Raw(`"00-` + traceID + `-` + spanID + `-01"`)}, {Name: "tracestate", Value: protocol.Raw(`"vendor=value"`)},
		{Name: "mine", Value: protocol.Raw("1")},
	}}
	if _, err := h.Run(t.Context(), &worker.Task{ID: "i", Name: "t", Message: m}); err != nil {
		t.Fatal(err)
	}
	span := r.the(t, "run/t")
	if span.Parent.IsValid() || span.SpanContext.TraceID().String() == traceID {
		t.Errorf("the run is in the trace %s, below %s", span.SpanContext.TraceID(), span.Parent.SpanID())
	}
	if len(span.Links) != 1 || span.Links[0].SpanContext.SpanID().String() != spanID || span.Links[0].SpanContext.TraceID().String() != traceID {
		t.Errorf("links are %+v, want the one that has sent it", span.Links)
	}
	got := <-published
	parent := string(got.Header("traceparent"))
	if !strings.Contains(parent, span.SpanContext.TraceID().String()) || got.Header("tracestate") != nil || string(got.Header("mine")) != "1" {
		t.Errorf("published with %s, %s, %s", parent, got.Header("tracestate"), got.Header("mine"))
	}
	if string(m.Header("tracestate")) == "" {
		t.Error("the message that runs was changed")
	}
}

// Without a provider nothing changes, and what a message has goes on.
func TestWithoutTracing(t *testing.T) {
	tracing := oteltrace.New(oteltrace.Config{})
	m := &protocol.Message{Task: "t", Headers: []protocol.Header{{Name: "mine", Value: protocol.Raw("1")}}}
	tracing.BeforePublish(t.Context(), m)
	if len(m.Headers) != 1 {
		t.Errorf("headers are %v", m.Headers)
	}
	m.SetHeader("traceparent", protocol.Raw(`"00-`+traceID+`-`+spanID+`-01"`))
	tracing.BeforePublish(t.Context(), m)
	if got := string(m.Header("traceparent")); !strings.Contains(got, spanID) {
		t.Errorf("the trace is now %s", got)
	}
}

// A client is the beginning of a trace, or goes on with the one of its context, or
// with the one that the options name.
func TestClient(t *testing.T) {
	s := redistest.Start(t)
	r := record(t)
	c, err := worker.NewClient(worker.ClientConfig{
		Backend: backend(t, s.URL(0)), Publishing: worker.Publishing{BeforePublish: r.tracing(false).BeforePublish},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, request := r.provider.Tracer("test").Start(t.Context(), "request")
	named := canvas.New("named")
	named.SetOption("headers", map[string]any{"traceparent": "00-" + traceID + "-" + spanID + "-01"})
	for sig, ctx := range map[*canvas.Signature]context.Context{canvas.New("alone"): t.Context(), canvas.New("below"): ctx, named: t.Context()} {
		if _, err := c.Send(ctx, sig); err != nil {
			t.Fatal(err)
		}
	}
	request.End()
	if span := r.the(t, "apply_async/alone"); span.Parent.IsValid() {
		t.Errorf("a trace that begins is below %s", span.Parent.SpanID())
	}
	if span := r.the(t, "apply_async/below"); span.Parent.SpanID() != request.SpanContext().SpanID() {
		t.Errorf("below %s, want the request", span.Parent.SpanID())
	}
	if span := r.the(t, "apply_async/named"); span.Parent.SpanID().String() != spanID {
		t.Errorf("below %s, want what the header names", span.Parent.SpanID())
	}
}
