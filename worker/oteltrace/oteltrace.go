// Package oteltrace makes the tasks of package worker part of OpenTelemetry traces. It
// makes a span for each run of a task and for each published message, with the names and
// attributes of OpenTelemetry's instrumentation of Celery. A trace that begins in Python
// continues through Go and back.
//
// Spans have the names of tasks and exceptions, ids, queues, numbers of attempts
// and texts of errors. They have no arguments, no results and no bodies.
package oteltrace

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Config describes a Tracing. All fields may stay empty.
type Config struct {
	// TracerProvider makes the spans. Default: the global one of package otel.
	TracerProvider trace.TracerProvider

	// Propagator reads and writes the headers of messages. Default: W3C Trace Context and
	// Baggage, as in Python. The global one of package otel is not the default, because
	// it does nothing until the program sets it, and traces would break silently.
	Propagator propagation.TextMapPropagator

	// Links starts a separate trace for each run of a task. The run has a link to the
	// span that published it and is not its child. Use it for tasks that run long after
	// their caller has ended (use_span_links).
	Links bool
}

// Tracing holds the two sides of the instrumentation. Middleware belongs first in
// worker.Config.Middleware, and BeforePublish in the Publishing of workers and clients.
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

// Middleware runs each task in a span of the kind consumer, named "run/" and the task.
// Its parent is the span in the headers of the message. The context of the handler has
// the span and the baggage.
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

// BeforePublish makes a span of the kind producer for a message, named "apply_async/" and
// the task, and writes it into the headers. Its parent is the span of ctx, or else the
// span in the headers. The span ends before the message is published, because messages
// are published together with the result of a task, in one step.
func (t *Tracing) BeforePublish(ctx context.Context, m *protocol.Message) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = t.propagator.Extract(ctx, headers{m})
	}
	ctx, span := t.tracer.Start(ctx, actionPublish+"/"+m.Task,
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(publishAttributes(m)...))
	defer span.End()
	if !span.SpanContext().IsValid() {
		return // without tracing the headers stay
	}
	headers{m}.remove(t.propagator.Fields())
	t.propagator.Inject(ctx, headers{m})
}
