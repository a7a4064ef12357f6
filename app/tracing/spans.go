package tracing

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/evently/workers/app/tracing/otlp"
)

// spans passes spans on to the batches of the SDK, and counts them. Spans that find the queue
// full are dropped: no task waits for the collector.
type spans struct {
	sdk.SpanProcessor // of batches
	exporter          sdk.SpanExporter
	log               *slog.Logger
	most              int64 // spans that wait

	waiting, exported, dropped, failed atomic.Int64
	down                               atomic.Bool // the last batch was not taken
}

// OnEnd implements [sdk.SpanProcessor].
func (s *spans) OnEnd(span sdk.ReadOnlySpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	if s.waiting.Add(1) > s.most {
		s.waiting.Add(-1)
		s.dropped.Add(1)
		return
	}
	s.SpanProcessor.OnEnd(span)
}

// counted returns the exporter, which counts.
func (s *spans) counted() sdk.SpanExporter { return countingExporter{s} }

type countingExporter struct{ spans *spans }

// ExportSpans implements [sdk.SpanExporter].
func (c countingExporter) ExportSpans(ctx context.Context, batch []sdk.ReadOnlySpan) error {
	s, n := c.spans, int64(len(batch))
	err := s.exporter.ExportSpans(ctx, batch)
	s.waiting.Add(-n)
	if r, ok := errors.AsType[*otlp.Rejected](err); ok {
		s.failed.Add(min(r.Spans, n))
		s.exported.Add(max(n-r.Spans, 0))
		s.log.Debug("spans rejected", "error", err)
		return err
	}
	if err != nil {
		s.failed.Add(n)
		if !s.down.Swap(true) {
			s.log.Warn("traces are not exported, their spans are lost until the collector answers", "error", err)
		}
		return err
	}
	s.exported.Add(n)
	if s.down.Swap(false) {
		s.log.Info("traces are exported again")
	}
	return nil
}

// Shutdown implements [sdk.SpanExporter].
func (c countingExporter) Shutdown(ctx context.Context) error { return c.spans.exporter.Shutdown(ctx) }
