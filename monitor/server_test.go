package monitor_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/monitor"
)

// With TLS, connections without a handshake keep no client from its answer, a client without TLS
// is told, and an answer that does not end by itself ends with the server.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	authority := smtptest.NewAuthority(t)
	l := listen(t)
	ending := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS != nil, " ", r.Proto) })
	mux.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "begins ")
		_ = http.NewResponseController(w).Flush()
		<-ending
		fmt.Fprint(w, "ends")
	})
	const most = 8
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- monitor.Serve(ctx, monitor.ServerConfig{
			Name: "test", Listener: l, Handler: mux, MaxConns: most, OnShutdown: func() { close(ending) }, Logger: slog.New(slog.DiscardHandler),
			TLS: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1")}},
		})
	}()
	get := func(path string) (io.ReadCloser, error) {
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: authority.Roots()},
		}}
		resp, err := client.Get("https://" + l.Addr().String() + path)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}
	stream, err := get("/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for range 5 * most {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() // it sends nothing
	}
	body, err := get("/")
	if err != nil {
		t.Fatalf("beside connections that send nothing: %v", err)
	}
	text, err := io.ReadAll(body)
	body.Close()
	if err != nil || !strings.HasPrefix(string(text), "true HTTP/") {
		t.Errorf("%q, %v", text, err)
	}
	plain, err := http.Get("http://" + l.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %s", plain.Status)
	}
	cancel()
	if text, err := io.ReadAll(stream); err != nil || string(text) != "begins ends" {
		t.Errorf("the stream: %q, %v", text, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
