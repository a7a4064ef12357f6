package cli_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/worker/redis/redistest"
)

// testZero has the password of Redis in Zero, which does not answer at first.
func testZero(t *testing.T, p binary) {
	server := redistest.Start(t, "--requirepass", canary)
	var answers atomic.Int32
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, _ := io.ReadAll(r.Body)
		switch {
		case !strings.Contains(string(question), "token-"+canary):
			_, _ = io.WriteString(w, `{"errors": [{"message": "no such token"}]}`)
		case answers.Add(1) == 1:
			w.WriteHeader(http.StatusBadGateway)
		default:
			_, _ = io.WriteString(w, `{"data": {"secrets": [{"name": "evently", "fields": [{"name": "redis-password", "value": "`+canary+`"}]}]}}`)
		}
	}))
	t.Cleanup(fake.Close)
	host, port, _ := strings.Cut(server.Addr, ":")
	env := []string{"REDIS_HOST=" + host, "REDIS_PORT=" + port, "DB_HOST=127.0.0.1", "SMTP_HOST=127.0.0.1", "HEALTH_ADDR=127.0.0.1:0", "ZERO_URL=" + fake.URL}

	if _, errs, code := p.run(t, append(env, "ZERO_TOKEN=wrong"), "run"); code != 2 || !strings.Contains(errs, "refused by Zero") {
		t.Errorf("run with a token that Zero refuses: exit code %d, %q", code, errs)
	}

	l := p.start(t, append(env, "ZERO_TOKEN=token-"+canary)...)
	l.answers("/readyz", http.StatusOK)
	if out := l.output(); !strings.Contains(out, "no configuration yet") || !strings.Contains(out, "HTTP status 502") {
		t.Errorf("the first fault of Zero is not in the log:\n%s", out)
	}
	if out, _, code := p.run(t, append(env, "ZERO_TOKEN=token-"+canary), "config"); code != 0 || !strings.Contains(out, "zero\n") {
		t.Errorf("config: exit code %d, no value from zero in\n%s", code, out)
	}
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Wait(); err != nil {
		t.Errorf("run ended with %v", err)
	}
}

// testZeroUnavailable lets Zero answer in all the ways that are not about the token,
// and not at all: the program waits, says why, works when Zero does, and a stop in
// between ends it at once.
func testZeroUnavailable(t *testing.T, p binary) {
	server := redistest.Start(t, "--requirepass", canary)
	var mode atomic.Value
	mode.Store("hangs")
	release := make(chan struct{})
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch mode.Load() {
		case "hangs":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "429":
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"errors": [{"message": "token is limited"}]}`)
		case "internal":
			_, _ = io.WriteString(w, `{"errors": [{"message": "Internal server error, token-`+canary+`"}]}`)
		case "page":
			_, _ = io.WriteString(w, `<html>login</html>`)
		default:
			_, _ = io.WriteString(w, `{"data": {"secrets": [{"name": "evently", "fields": [{"name": "redis-password", "value": "`+canary+`"}]}]}}`)
		}
	}))
	t.Cleanup(fake.Close)
	host, port, _ := strings.Cut(server.Addr, ":")
	env := []string{"REDIS_HOST=" + host, "REDIS_PORT=" + port, "DB_HOST=127.0.0.1", "SMTP_HOST=127.0.0.1", "ZERO_URL=" + fake.URL, "ZERO_TOKEN=token-" + canary}

	l := p.start(t, env...)
	l.answers("/livez", http.StatusOK) // while the first question is open
	l.answers("/readyz", http.StatusServiceUnavailable)
	mode.Store("429")
	close(release)
	for _, step := range []struct{ mode, says string }{
		{"429", "HTTP status 429"}, {"internal", "does not concern the token"}, {"page", "not understood"},
	} {
		mode.Store(step.mode)
		l.shows("/readyz", "configuration: secrets service unavailable (HTTP status")
		l.shows("/readyz", step.says)
	}
	l.answers("/livez", http.StatusOK)
	l.answers("/health", http.StatusServiceUnavailable)
	l.shows("/health/configuration", "secrets service unavailable")
	if _, errs, code := p.run(t, env, "health", "--addr", strings.TrimPrefix(l.url, "http://")); code != 1 {
		t.Errorf("health: exit code %d, %s", code, errs)
	}
	mode.Store("works")
	l.answers("/readyz", http.StatusOK)
	if code := l.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}

	for _, m := range []string{"429", "internal"} {
		mode.Store(m)
		waiting := p.start(t, env...)
		waiting.tells("no configuration yet")
		begin := time.Now()
		if code := waiting.stop(syscall.SIGTERM); code != 0 || time.Since(begin) > 15*time.Second {
			t.Errorf("a stop while Zero answers with %s: exit code %d after %v", m, code, time.Since(begin))
		}
		if out := waiting.output(); strings.Contains(out, canary) {
			t.Errorf("the log has the token:\n%s", out)
		}
	}
}

// shows polls a page until it has a text.
func (l *live) shows(path, text string) {
	l.t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	last := "no answer"
	eventually(l.t, path+" shows "+text, func() bool {
		resp, err := client.Get(l.url + path)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		last = string(body)
		return strings.Contains(last, text)
	}, &last)
}
