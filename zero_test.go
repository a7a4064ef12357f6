package main_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

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
	if out := l.output(); !strings.Contains(out, "no configuration yet") {
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
