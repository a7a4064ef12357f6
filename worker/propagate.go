package worker

import (
	"context"
	"fmt"

	"github.com/evently/workers/worker/protocol"
)

// prepare completes the headers of a message that is about to be published.
func (p *publisher) prepare(ctx context.Context, m *protocol.Message) (err error) {
	if t, ok := TaskFrom(ctx); ok && t.Message != nil {
		passTrace(t.Message, m)
	}
	if p.cfg.BeforePublish == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("publish %s: BeforePublish: %w", m.Task, &errPanic{value: v})
		}
	}()
	p.cfg.BeforePublish(ctx, m)
	return nil
}

// prepareRetry completes the headers of another attempt. It has the headers of the last
// one, with the trace.
func (p *publisher) prepareRetry(ctx context.Context, m *protocol.Message, o protocol.RetryOptions) error {
	if p.cfg.BeforePublish == nil {
		return nil
	}
	next := *m
	next.Retries, next.ETA, next.Exchange, next.RoutingKey = m.Retries+1, o.ETA, "", o.Queue
	if o.Retries != nil {
		next.Retries = *o.Retries
	}
	err := p.prepare(ctx, &next)
	m.Headers = next.Headers
	return err
}

// traceHeaders are the headers of the W3C recommendation Trace Context. The sizes bound the
// headers that are passed on, because one message may publish many thousands. A
// traceparent has 55 bytes today, and 512 bytes of a tracestate must be kept.
var traceHeaders = []struct {
	name string
	most int
}{{"traceparent", 128}, {"tracestate", 1024}}

// passTrace lets a message belong to the trace of the task that publishes it, so that a
// worker without tracing does not cut traces. A message that has a trace keeps it.
func passTrace(from, to *protocol.Message) {
	if !to.Header(traceHeaders[0].name).IsNull() {
		return
	}
	for i, h := range traceHeaders {
		value := from.Header(h.name)
		if len(value) > h.most+2 || len(value) < 2 || value[0] != '"' {
			if i == 0 {
				return // the state means nothing without the parent
			}
			continue
		}
		to.SetHeader(h.name, value)
	}
}
