// Package tracing exports traces by OTLP when the standard variables of OpenTelemetry ask for
// it. A trace that begins in Python continues in the worker with the steps of a mail.
//
// Spans have names, ids, numbers, durations and reply codes. They have no address, no code, no
// text of a mail and no words of a server.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/evently/workers/app/tracing/otlp"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/oteltrace"
	"github.com/evently/workers/worker/protocol"
)

// Config describes a Tracing.
type Config struct {
	Service, Version string                  // default of OTEL_SERVICE_NAME, and the version
	Instance         string                  // name of the node
	Getenv           func(key string) string // default: os.Getenv; the exporter itself reads the environment
	Logger           *slog.Logger            // required
}

// Tracing exports traces. A nil *Tracing does nothing.
type Tracing struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	celery   *oteltrace.Tracing
	spans    *spans
}

// Variables of OpenTelemetry that decide whether there are traces.
const (
	endpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

// New returns the tracing that the environment asks for; nil: it asks for none. It connects to
// nothing. The error names the variable that is wrong.
func New(ctx context.Context, cfg Config) (*Tracing, error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	wanted, err := isWanted(cfg.Getenv)
	if err != nil || !wanted {
		return nil, err
	}
	exporter, err := otlp.New(ctx, cfg.Getenv)
	if err != nil {
		return nil, err
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", cfg.Service), attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", cfg.Instance)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &Tracing{spans: &spans{most: queueSize(cfg.Getenv), exporter: exporter, log: cfg.Logger}}
	// The exporter tells its faults to this handler only; spans has logged them.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Logger.Debug("tracing", "error", err) }))
	t.spans.SpanProcessor = sdk.NewBatchSpanProcessor(t.spans.counted(), sdk.WithMaxQueueSize(int(t.spans.most)))
	t.provider = sdk.NewTracerProvider(sdk.WithResource(described), sdk.WithSpanProcessor(t.spans))
	t.tracer = t.provider.Tracer("github.com/evently/workers/app/tracing")
	t.celery = oteltrace.New(oteltrace.Config{TracerProvider: t.provider})
	return t, nil
}

// isWanted reports whether the environment asks for traces.
func isWanted(getenv func(string) string) (bool, error) {
	name, at := inForce(getenv, tracesEndpoint, endpoint)
	if at == "" || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false, nil
	}
	variable, p := inForce(getenv, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if p != "" && p != "http/protobuf" {
		return false, fmt.Errorf("%s is %q: write http/protobuf, and its port (4318) in %s", variable, p, name)
	}
	if err := checkSampling(getenv); err != nil {
		return false, err
	}
	return true, nil
}

// inForce returns the variable of traces and its value, or the general one if that is not set.
func inForce(getenv func(string) string, ofTraces, general string) (name, value string) {
	if value = getenv(ofTraces); value != "" {
		return ofTraces, value
	}
	return general, getenv(general)
}

// checkSampling returns an error for values that the SDK replaces by its defaults without a word: a
// mistake in the share of traces would export all of them.
func checkSampling(getenv func(string) string) error {
	sampler := strings.ToLower(strings.TrimSpace(getenv("OTEL_TRACES_SAMPLER")))
	switch sampler {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
	case "traceidratio", "parentbased_traceidratio":
		text := strings.TrimSpace(getenv("OTEL_TRACES_SAMPLER_ARG"))
		if share, err := strconv.ParseFloat(text, 64); text != "" && (err != nil || !(share >= 0 && share <= 1)) {
			return errors.New("OTEL_TRACES_SAMPLER_ARG is not a share of the traces: write a number from 0 to 1, such as 0.05")
		}
	default:
		return fmt.Errorf("OTEL_TRACES_SAMPLER is %q: write always_on, always_off, traceidratio, or one of them with parentbased_ in front", sampler)
	}
	if text := getenv("OTEL_BSP_MAX_QUEUE_SIZE"); text != "" {
		if n, err := strconv.Atoi(text); err != nil || n < 1 {
			return errors.New("OTEL_BSP_MAX_QUEUE_SIZE is not a number of spans: write a number from 1, such as 2048")
		}
	}
	return nil
}

// queueSize returns the most spans that wait for the exporter.
func queueSize(getenv func(string) string) int64 {
	if n, err := strconv.Atoi(getenv("OTEL_BSP_MAX_QUEUE_SIZE")); err == nil && n > 0 {
		return int64(n)
	}
	return sdk.DefaultMaxQueueSize
}

// Middleware returns the middleware of tasks, the outermost first.
func (t *Tracing) Middleware() []worker.Middleware {
	if t == nil {
		return nil
	}
	return []worker.Middleware{t.celery.Middleware, t.claim}
}

// claim adds the time from the claim of the message until its task starts.
func (t *Tracing) claim(next worker.Handler) worker.Handler {
	return worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
		if !task.Received.IsZero() {
			_, span := t.tracer.Start(ctx, "claim", trace.WithTimestamp(task.Received),
				trace.WithAttributes(attribute.String("messaging.destination.name", task.Queue), attribute.Bool("celery.redelivered", task.Redelivered)))
			span.End()
		}
		return next.Run(ctx, task)
	})
}

// BeforePublish returns the hook of published messages; nil: there is none.
func (t *Tracing) BeforePublish() func(context.Context, *protocol.Message) {
	if t == nil {
		return nil
	}
	return t.celery.BeforePublish
}

// Step returns the hook of the steps of a mail; nil: there is none.
func (t *Tracing) Step() func(ctx context.Context, name string) (ended func(error)) {
	if t == nil {
		return nil
	}
	return func(ctx context.Context, name string) func(error) {
		_, span := t.tracer.Start(ctx, name)
		return func(err error) {
			fail(span, err)
			span.End()
		}
	}
}

// fail records an error by its type and its words for all; other words may have personal data.
func fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	kind := fmt.Sprintf("%T", err)
	words := kind
	if s, ok := errors.AsType[interface {
		error
		Summary() string
	}](err); ok {
		words = s.Summary()
	}
	span.SetAttributes(attribute.String("error.type", kind))
	span.SetStatus(codes.Error, words)
}

// Close exports the spans that wait, for a second at most.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.spans.log.Debug("last spans not exported", "error", err)
	}
}

// Counts are the numbers of spans that were exported, dropped because the queue was full, and
// lost because the collector did not take them.
type Counts struct{ Exported, Dropped, Failed int64 }

// Counts returns the numbers of spans.
func (t *Tracing) Counts() Counts {
	if t == nil {
		return Counts{}
	}
	return Counts{Exported: t.spans.exported.Load(), Dropped: t.spans.dropped.Load(), Failed: t.spans.failed.Load()}
}
