package otlp

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// received is a request that a collector got.
type received struct {
	path   string
	header http.Header
	export collector.ExportTraceServiceRequest
}

// startCollector starts a collector that reads requests as OpenTelemetry's own messages and
// answers as told.
func startCollector(t *testing.T, start func(*httptest.Server), answer func(w http.ResponseWriter, n int)) (*httptest.Server, func() []*received) {
	var mu sync.Mutex
	var got []*received
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		raw, _ := io.ReadAll(body)
		one := &received{path: r.URL.String(), header: r.Header}
		if err := proto.Unmarshal(raw, &one.export); err != nil {
			t.Error(err)
		}
		mu.Lock()
		got = append(got, one)
		n := len(got)
		mu.Unlock()
		answer(w, n)
	}))
	start(s)
	t.Cleanup(s.Close)
	return s, func() []*received {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func answerOK(w http.ResponseWriter, _ int) { w.Header().Set("Content-Type", "application/x-protobuf") }

// batch is one span.
func batch() []*tracepb.ResourceSpans {
	return []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: "step"}}}}}}
}

// upload sends one batch to where the environment says.
func upload(t *testing.T, env map[string]string) error {
	t.Helper()
	s, err := read(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(s)
	c.firstWait = time.Millisecond
	defer c.Stop(t.Context())
	return c.UploadTraces(t.Context(), batch())
}

// Requests are those of the specification: path, headers and compression, under TLS with the
// certificates of the variables.
func TestRequest(t *testing.T) {
	t.Parallel()
	server, got := startCollector(t, (*httptest.Server).StartTLS, answerOK)
	folder := t.TempDir()
	ca := filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	err := upload(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL + "/base/", "OTEL_EXPORTER_OTLP_CERTIFICATE": ca,
		"OTEL_EXPORTER_OTLP_HEADERS": "api-key = of all", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=of%20traces, tenant=a%2Cb",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := upload(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL + "/own?x=1", "OTEL_EXPORTER_OTLP_CERTIFICATE": ca}); err != nil {
		t.Fatal(err)
	}
	if len(got()) != 2 {
		t.Fatalf("%d requests", len(got()))
	}
	first, second := got()[0], got()[1]
	if h := first.header; first.path != "/base/v1/traces" || h.Get("Api-Key") != "of traces" || h.Get("Tenant") != "a,b" || h.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("%s %v", first.path, first.header)
	}
	if name := first.export.ResourceSpans[0].ScopeSpans[0].Spans[0].Name; name != "step" {
		t.Errorf("the span is %q", name)
	}
	if second.path != "/own?x=1" || second.header.Get("Content-Encoding") != "" {
		t.Errorf("%s %v", second.path, second.header)
	}
	if err := upload(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL}); err == nil {
		t.Error("a certificate of an unknown authority is trusted")
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Error(err)
	}
}

// Answers decide: some ask for another try, some for none, and a part may be rejected.
func TestAnswers(t *testing.T) {
	t.Parallel()
	rejected, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 3, ErrorMessage: "too old"}})
	if err != nil {
		t.Fatal(err)
	}
	warning, err := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{ErrorMessage: "slow down"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		code     int
		body     string
		once     bool // the second answer is a success
		requests int
		fault    string
	}{
		{"taken", 200, "", false, 1, ""},
		{"taken, other words", 202, "not protobuf", false, 1, ""},
		{"taken, with a warning", 200, string(warning), false, 1, ""},
		{"taken in part", 200, string(rejected), false, 1, `rejected 3 spans: "too old"`},
		{"later", 503, "", true, 2, ""},
		{"too many", 429, "", true, 2, ""},
		{"refused", 401, "no such key", false, 1, `401 Unauthorized: "no such key"`},
		{"moved", 307, "", false, 1, "307"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, got := startCollector(t, (*httptest.Server).Start, func(w http.ResponseWriter, n int) {
				if test.once && n > 1 {
					return
				}
				w.Header().Set("Location", "http://127.0.0.1:9/")
				w.WriteHeader(test.code)
				io.WriteString(w, test.body)
			})
			err := upload(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL})
			if n := len(got()); n != test.requests {
				t.Errorf("%d requests", n)
			}
			if (err != nil) != (test.fault != "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%v, want %q", err, test.fault)
			}
			if r, ok := errors.AsType[*Rejected](err); ok && r.Spans != 3 {
				t.Errorf("%d rejected", r.Spans)
			}
		})
	}
}

// A collector that hangs costs the timeout, and Stop ends an upload at once.
func TestHang(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	server, got := startCollector(t, (*httptest.Server).Start, func(http.ResponseWriter, int) { <-free })
	defer close(free)
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_TIMEOUT": "50"}
	s, err := read(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(s) // waits for seconds between two tries
	done := make(chan error)
	go func() { done <- c.UploadTraces(context.Background(), batch()) }()
	for len(got()) == 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-done:
		t.Fatalf("given up before another try: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("no error after Stop")
	}
}

// A wrong variable is named, and its value, which may be a secret, is not.
func TestWrongVariables(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none.pem")
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "s3cret:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://s3cret", "OTEL_EXPORTER_OTLP_HEADERS": "s3cret",
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a b=s3cret", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s3cret", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "-1",
		"OTEL_EXPORTER_OTLP_COMPRESSION": "s3cret", "OTEL_EXPORTER_OTLP_CERTIFICATE": none, "OTEL_EXPORTER_OTLP_CLIENT_KEY": none,
	} {
		env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", name: value}
		if _, err := New(t.Context(), func(name string) string { return env[name] }); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
