// Package oteltrace makes the tasks of package worker part of OpenTelemetry
// traces: a span for each run of a task, and one for each message that is
// published, with the names and attributes of OpenTelemetry's own instrumentation
// of Celery. A trace that begins in Python goes on through Go and back.
//
// Spans have the names of tasks and exceptions, ids, queues, numbers of attempts
// and texts of errors. They have no arguments, no results and no bodies.
//
// It is a module of its own, so that a program without OpenTelemetry does not
// have it among its requirements.
package oteltrace

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Config describes a Tracing. All of it may stay empty.
type Config struct {
	// TracerProvider makes the spans. Default: the global one of package otel.
	TracerProvider trace.TracerProvider

	// Propagator reads and writes the headers of messages. Default: W3C Trace
	// Context and Baggage, as in Python. The global one of package otel is not the
	// default as it does nothing unless somebody has set it, and the traces would
	// fall apart in silence.
	Propagator propagation.TextMapPropagator

	// Links makes each run of a task a trace of its own, with a link to the span
	// that published it, in the place of a child of that span: for tasks that run
	// long after whoever sent them has gone (use_span_links).
	Links bool
}

// Tracing is the two sides of the instrumentation: Middleware belongs into
// worker.Config.Middleware, as the first, and BeforePublish into the Publishing
// of workers and clients.
type Tracing struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	links      bool
}

// New makes a Tracing.
func New(cfg Config) *Tracing {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	return &Tracing{
		tracer:     cfg.TracerProvider.Tracer("github.com/evently/workers/worker/oteltrace"),
		propagator: cfg.Propagator,
		links:      cfg.Links,
	}
}

// Middleware runs each task in a span, "run/" and its name, of the kind consumer.
// Its parent is the span that the headers of the message name. The context of the
// handler has the span and the baggage.
func (t *Tracing) Middleware(next worker.Handler) worker.Handler {
	return worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (result any, err error) {
		ctx, span := t.begin(ctx, task)
		returned := false
		defer func() {
			if !returned {
				panicked(span)
			}
			span.End()
		}()
		result, err = next.Run(ctx, task)
		returned = true
		ended(ctx, span, task, err)
		return result, err
	})
}

func (t *Tracing) begin(ctx context.Context, task *worker.Task) (context.Context, trace.Span) {
	ctx = t.propagator.Extract(ctx, headers{task.Message})
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(runAttributes(task)...)}
	if from := trace.SpanContextFromContext(ctx); t.links && from.IsValid() {
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: from}))
	}
	return t.tracer.Start(ctx, actionRun+"/"+task.Name, options...)
}

// BeforePublish makes a span for a message, "apply_async/" and the name of the
// task, of the kind producer, and writes it into the headers. Its parent is the
// span of ctx; without one, that of the headers, if they have one. The span has
// ended when the message goes out: messages are published together with what a
// task has done, in one step.
func (t *Tracing) BeforePublish(ctx context.Context, m *protocol.Message) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = t.propagator.Extract(ctx, headers{m})
	}
	ctx, span := t.tracer.Start(ctx, actionPublish+"/"+m.Task,
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(publishAttributes(m)...))
	defer span.End()
	if !span.SpanContext().IsValid() {
		return // there is no tracing: what the message has stays
	}
	headers{m}.remove(t.propagator.Fields())
	t.propagator.Inject(ctx, headers{m})
}
