package oteltrace

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Names of the two operations in Celery's instrumentation.
const (
	actionRun     = "run"
	actionPublish = "apply_async"
)

// messaging returns the attributes of both sides by OpenTelemetry's conventions for
// messaging. Names that begin with celery are from its instrumentation of Celery.
func messaging(action, kind, task, id, conversation, queue string, retries int) []attribute.KeyValue {
	as := []attribute.KeyValue{
		attribute.String("messaging.system", "celery"),
		attribute.String("messaging.operation.name", action),
		attribute.String("messaging.operation.type", kind),
		attribute.String("messaging.message.id", id),
		attribute.String("celery.action", action),
		attribute.String("celery.task_name", task),
	}
	if queue != "" {
		as = append(as, attribute.String("messaging.destination.name", queue))
	}
	if conversation != "" {
		as = append(as, attribute.String("messaging.message.conversation_id", conversation))
	}
	if retries > 0 {
		as = append(as, attribute.Int("celery.retries", retries))
	}
	return as
}

func runAttributes(t *worker.Task) []attribute.KeyValue {
	as := messaging(actionRun, "process", t.Name, t.ID, t.CorrelationID, t.Queue, t.Retries)
	if t.Redelivered {
		as = append(as, attribute.Bool("celery.redelivered", true))
	}
	return as
}

func publishAttributes(m *protocol.Message) []attribute.KeyValue {
	return messaging(actionPublish, "create", m.Task, m.ID, m.CorrelationID, m.RoutingKey, m.Retries)
}

// ended records on a span how its task has ended.
func ended(ctx context.Context, span trace.Span, task *worker.Task, err error) {
	if !span.IsRecording() {
		return
	}
	defer func() { _ = recover() }() // a panic in a method of err must not end the task
	state := worker.StateAfter(ctx, task, err)
	if state != "" {
		span.SetAttributes(attribute.String("celery.state", state))
	}
	switch state {
	case protocol.StateFailure:
		failed(ctx, span, task, err)
	case protocol.StateRetry:
		if r, ok := errors.AsType[*worker.RetryError](err); ok && r.Err != nil {
			err = r.Err
		}
		span.SetAttributes(attribute.String("celery.retry.reason", task.Redact(text(err))))
	case protocol.StateSuccess:
		if g, ok := errors.AsType[*worker.GiveUpError](err); ok {
			span.SetAttributes(attribute.String("celery.dead_letter", task.Redact(g.Reason)))
		}
	}
}

// failed records the failure as the exception that Python sees.
func failed(ctx context.Context, span trace.Span, task *worker.Task, err error) {
	if cause := context.Cause(ctx); errors.Is(cause, worker.ErrTimeLimit) {
		err = cause // the error of the handler counts less
	}
	if r, ok := errors.AsType[*worker.RetryError](err); ok && r.Err != nil {
		err = r.Err // the failure of the last attempt
	}
	kind := fmt.Sprintf("%T", err)
	if e, ok := errors.AsType[*worker.Exception](err); ok {
		kind = e.Type
		if e.Module != "" && e.Module != "builtins" {
			kind = e.Module + "." + e.Type
		}
	}
	message := task.Redact(text(err))
	span.AddEvent("exception", trace.WithAttributes(
		attribute.String("exception.type", kind), attribute.String("exception.message", message)))
	span.SetAttributes(attribute.String("error.type", kind))
	span.SetStatus(codes.Error, message)
}

// panicked records that the handler has not returned. The value of the panic may hold
// secrets and is left out.
func panicked(span trace.Span) {
	span.SetAttributes(attribute.String("celery.state", protocol.StateFailure), attribute.String("error.type", "panic"))
	span.SetStatus(codes.Error, "the handler has panicked")
}

// text returns the text of an error, whose method may panic.
func text(err error) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("an error of type %T that cannot be read", err)
		}
	}()
	return err.Error()
}
