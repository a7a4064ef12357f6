package e2e_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlpReceiver is a collector of traces.
type otlpReceiver struct {
	*httptest.Server

	mu      sync.Mutex
	spans   []*tracepb.Span
	bodies  strings.Builder
	service string
}

func startOTLP(t *testing.T) *otlpReceiver {
	r := &otlpReceiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP implements [http.Handler].
func (r *otlpReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(req.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	raw, err := io.ReadAll(body)
	var export collector.ExportTraceServiceRequest
	if err = errors.Join(err, proto.Unmarshal(raw, &export)); err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies.Write(raw)
	for _, of := range export.ResourceSpans {
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				r.service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			r.spans = append(r.spans, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// named returns the spans of a name, in the order of their starts.
func (r *otlpReceiver) named(name string) (found []*tracepb.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *tracepb.Span) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
	return found
}

// A trace that begins in Python goes through the claim, the lookup, the mail and its retry. A
// collector that is down costs spans and no mail.
func TestTraces(t *testing.T) {
	t.Parallel()
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	p := startPlatform(t)
	p.addUser(t, 41, "traced@mail.example", true)
	receiver := startOTLP(t)
	var once sync.Once
	p.sink.answers(func(letter) (err error) {
		once.Do(func() {
			err = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "traced@mail.example comes later"}
		})
		return err
	})
	service := p.startService(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_BSP_EXPORT_TIMEOUT=10000",
		"OTEL_SERVICE_NAME=mails-of-the-test", "RETRY_DELAY=0.5", "MAIL_RATE=1000/s")
	traced := call{Label: "traced", Via: "send_task", Task: prefix + "send_booking_confirmation", Args: []any{41, map[string]any{"event_name": "Jazz", "booking_id": "BK-41"}}, Options: map[string]any{
		"headers": map[string]any{"traceparent": "00-" + trace + "-" + parent + "-01"},
	}}
	if a := produce(t, "celery-5", p.redis.url(), []call{traced})["traced"]; a.State != "SUCCESS" {
		t.Fatalf("%+v\n%s", a, last(service.out.String(), 3000))
	}
	run := "run/" + prefix + "send_booking_confirmation"
	eventually(t, time.Minute, "both attempts are in the trace", func() bool { return len(receiver.named(run)) == 2 && len(receiver.named("smtp final")) == 2 })
	hex := func(id []byte) string { return fmt.Sprintf("%x", id) }
	runs := receiver.named(run)
	if hex(runs[0].ParentSpanId) != parent || hex(runs[0].TraceId) != trace {
		t.Errorf("the first run is below %x in %x", runs[0].ParentSpanId, runs[0].TraceId)
	}
	published := receiver.named("apply_async/" + prefix + "send_booking_confirmation")
	if len(published) != 1 || hex(published[0].ParentSpanId) != hex(runs[0].SpanId) || hex(runs[1].ParentSpanId) != hex(published[0].SpanId) {
		t.Errorf("the retry is not below the first attempt: %v", published)
	}
	for _, step := range []string{"claim", "lookup", "suppressions", "render", "limits", "smtp"} {
		spans := receiver.named(step)
		if len(spans) != 2 {
			t.Errorf("%d spans %q, want one for each attempt", len(spans), step)
			continue
		}
		for i, s := range spans {
			if hex(s.ParentSpanId) != hex(runs[i].SpanId) || hex(s.TraceId) != trace || s.EndTimeUnixNano < s.StartTimeUnixNano {
				t.Errorf("%s is below %x, want the run %x", step, s.ParentSpanId, runs[i].SpanId)
			}
		}
	}
	smtpSpans := receiver.named("smtp")
	for _, phase := range []string{"smtp MAIL", "smtp RCPT", "smtp DATA", "smtp final"} {
		for i, s := range receiver.named(phase) {
			if hex(s.ParentSpanId) != hex(smtpSpans[i].SpanId) {
				t.Errorf("%s is not below its delivery", phase)
			}
		}
	}
	if s := smtpSpans[0]; s.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || !strings.Contains(s.Status.GetMessage(), "451") {
		t.Errorf("the refused delivery has the status %v", s.Status)
	}
	receiver.mu.Lock()
	bodies, name := receiver.bodies.String(), receiver.service
	receiver.mu.Unlock()
	if name != "mails-of-the-test" || strings.Contains(bodies, "traced@") || strings.Contains(bodies, "comes later") {
		t.Errorf("service %q; the spans have an address or words of the relay", name)
	}

	receiver.Close()
	var calls []call
	for i := range 20 {
		calls = append(calls, call{Label: fmt.Sprint(i), Via: "send_task", Task: traced.Task, Args: traced.Args})
	}
	for label, a := range produce(t, "celery-5", p.redis.url(), calls) {
		if a.State != "SUCCESS" {
			t.Errorf("%s without a collector: %+v", label, a)
		}
	}
	eventually(t, time.Minute, "lost spans are counted, and told", func() bool {
		reply, err := http.Get("http://" + healthAddr(service) + "/metrics")
		if err != nil {
			return false
		}
		defer reply.Body.Close()
		text, _ := io.ReadAll(reply.Body)
		return strings.Contains(string(text), `evently_worker_trace_spans_total{outcome="failed"} `) && !strings.Contains(string(text), `evently_worker_trace_spans_total{outcome="failed"} 0`) &&
			strings.Contains(service.out.String(), "traces are not exported")
	})
	if n := strings.Count(service.out.String(), "traces are not exported"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
}

// healthAddr returns where the health server of a service listens, by its log.
func healthAddr(service *process) string {
	_, addr, _ := strings.Cut(service.out.String(), `"health server listens","addr":"`)
	addr, _, _ = strings.Cut(addr, `"`)
	return addr
}
