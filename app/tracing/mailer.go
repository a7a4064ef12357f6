package tracing

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/tasks"
)

// mailer makes a span of each delivery, with its phases below it.
type mailer struct {
	next   tasks.Mailer
	tracer trace.Tracer
}

// Mailer returns a Mailer whose deliveries are traced.
func (t *Tracing) Mailer(next tasks.Mailer) tasks.Mailer {
	if t == nil {
		return next
	}
	return &mailer{next: next, tracer: t.tracer}
}

// Send implements [tasks.Mailer].
func (m *mailer) Send(ctx context.Context, message mail.Message) (mail.Receipt, error) {
	ctx, span := m.tracer.Start(ctx, "smtp", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("evently.mail.kind", message.Kind)))
	defer span.End()
	began := time.Now()
	receipt, err := m.next.Send(ctx, message)
	times, relay := receipt.Times, receipt.Relay
	if failed, ok := errors.AsType[*mail.SendError](err); ok {
		times, relay = failed.Times, failed.Relay
		span.SetAttributes(attribute.String("smtp.command", failed.Command))
		if failed.Code != 0 {
			span.SetAttributes(attribute.Int("smtp.reply_code", failed.Code))
		}
	}
	if relay != "" {
		span.SetAttributes(attribute.String("server.address", relay))
	}
	m.phases(ctx, times, began, time.Now())
	fail(span, err)
	return receipt, err
}

// phases makes spans of the phases, which follow each other and end now. Time before them went
// to relays that did not take the mail.
func (m *mailer) phases(ctx context.Context, t mail.Times, began, now time.Time) {
	all := []struct {
		name string
		took time.Duration
	}{
		{"smtp wait", t.Wait}, {"smtp connect", t.Connect}, {"smtp MAIL", t.Mail}, {"smtp RCPT", t.Rcpt}, {"smtp DATA", t.Data},
		{"smtp guard", t.Guard}, {"smtp final", t.Final},
	}
	var whole time.Duration
	for _, p := range all {
		whole += p.took
	}
	at := now.Add(-whole)
	if at.Before(began) {
		at = began
	}
	for _, p := range all {
		if p.took <= 0 {
			continue
		}
		_, span := m.tracer.Start(ctx, p.name, trace.WithTimestamp(at))
		at = at.Add(p.took)
		span.End(trace.WithTimestamp(at))
	}
}
