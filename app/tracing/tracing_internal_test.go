package tracing

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The standard variables decide, and a wrong one is named.
func TestIsWanted(t *testing.T) {
	for _, test := range []struct {
		env    map[string]string
		wanted bool
		fault  string
	}{
		{nil, false, ""},
		{map[string]string{endpoint: "http://c:4318"}, true, ""},
		{map[string]string{tracesEndpoint: "https://c/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, true, ""},
		{map[string]string{endpoint: "http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, true, ""},
		{map[string]string{endpoint: "http://c:4318", "OTEL_SDK_DISABLED": "true"}, false, ""},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		{map[string]string{endpoint: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{map[string]string{endpoint: "http://c:4318", "OTEL_SDK_DISABLED": "True"}, false, ""},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.05"}, true, ""},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "traceidratio"}, true, ""},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_SAMPLER_ARG": "x"}, true, ""},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "ratio"}, false, "OTEL_TRACES_SAMPLER is"},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "5%"}, false, "OTEL_TRACES_SAMPLER_ARG"},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "5"}, false, "OTEL_TRACES_SAMPLER_ARG"},
		{map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, false, "OTEL_TRACES_SAMPLER_ARG"},
		{map[string]string{endpoint: "http://c:4318", "OTEL_BSP_MAX_QUEUE_SIZE": "many"}, false, "OTEL_BSP_MAX_QUEUE_SIZE"},
	} {
		wanted, err := isWanted(func(name string) string { return test.env[name] })
		if wanted != test.wanted || (err != nil) != (test.fault != "") || err != nil && !strings.HasPrefix(err.Error(), test.fault) {
			t.Errorf("%v: %v, %v", test.env, wanted, err)
		}
	}
}

// stuck is an exporter that hangs until the test ends.
type stuck struct{ free chan struct{} }

func (s stuck) ExportSpans(context.Context, []trace.ReadOnlySpan) error { <-s.free; return nil }
func (stuck) Shutdown(context.Context) error                            { return nil }

// A collector that hangs holds up no task: spans that find the queue full are dropped and counted.
func TestCollectorThatHangs(t *testing.T) {
	free := make(chan struct{})
	s := &spans{most: 10, exporter: stuck{free}, log: slog.New(slog.DiscardHandler)}
	s.SpanProcessor = trace.NewBatchSpanProcessor(s.counted(), trace.WithMaxQueueSize(10), trace.WithMaxExportBatchSize(5), trace.WithBatchTimeout(time.Millisecond))
	p := trace.NewTracerProvider(trace.WithSpanProcessor(s))
	tracer := p.Tracer("test")
	for range 1000 {
		_, span := tracer.Start(t.Context(), "step")
		span.End()
	}
	if n := s.dropped.Load(); n != 990 {
		t.Errorf("%d spans were dropped, want 990", n)
	}
	close(free)
	if err := p.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := s.exported.Load(); n != 10 || s.waiting.Load() != 0 {
		t.Errorf("%d exported, %d wait", n, s.waiting.Load())
	}
}
