package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/worker/protocol"
)

// rotationWorld is the service with all its secrets in files and in Zero.
type rotationWorld struct {
	*platform
	t       *testing.T
	dir     string
	relay   *smtptest.Server
	service *process
	health  string
	hangUp  atomic.Bool // the relay ends its connections before the next mail

	mu        sync.Mutex
	token     string            // that Zero takes
	zero      map[string]string // what it has
	passwords map[string]int    // number of the present password of each secret
}

// The secrets that are replaced, as the metrics name them.
var rotated = []string{"SMTP_PASSWORD", "REDIS_PASSWORD", "DB_PASSWORD", "ZERO_TOKEN"}

func password(secret string, n int) string { return fmt.Sprintf("cAnArY-%s-%d", secret, n) }

func startRotationWorld(t *testing.T) *rotationWorld {
	t.Helper()
	w := &rotationWorld{platform: startPlatform(t), t: t, dir: t.TempDir(), zero: map[string]string{}, passwords: map[string]int{}}
	w.addUser(t, outageUser, "ann@example.com", true)
	w.relay = smtptest.New(t, smtptest.Options{
		Username: "evently", Password: password("SMTP_PASSWORD", 0),
		Script: func(s smtptest.Step) smtptest.Action {
			if s.Command == "MAIL" && s.Mails > 0 && w.hangUp.Load() {
				return smtptest.Action{Reply: "421 4.3.2 closing", Then: smtptest.Close}
			}
			return smtptest.Action{}
		},
	})
	zero := httptest.NewServer(http.HandlerFunc(w.answer))
	t.Cleanup(zero.Close)
	w.redis.do("ACL", "SETUSER", "worker", "on", "~*", "&*", "+@all")
	w.postgres.Exec("evently", `CREATE ROLE worker LOGIN; GRANT ALL ON users TO worker; GRANT CREATE ON DATABASE evently TO worker`)
	for _, secret := range rotated {
		w.server(secret, 0)
		w.source(secret, 0)
	}
	health := freePort(t)
	w.health = "http://127.0.0.1:" + health
	_, port, _ := strings.Cut(w.relay.Addr(), ":")
	w.service = start(t, "evently-workers", []string{
		"REDIS_URL_FILE=" + w.path("REDIS_PASSWORD"), "SMTP_PASSWORD_FILE=" + w.path("SMTP_PASSWORD"), "ZERO_TOKEN_FILE=" + w.path("ZERO_TOKEN"),
		"ZERO_URL=" + zero.URL + "/graphql", "ZERO_REFRESH=5",
		"DB_HOST=127.0.0.1", "DB_PORT=" + strconv.Itoa(w.postgres.Port), "DB_USER=worker", "DB_SSLMODE=disable",
		"SMTP_HOST=127.0.0.1", "SMTP_PORT=" + port, "SMTP_TLS_MODE=none", "SMTP_USERNAME=evently",
		"HEALTH_ADDR=127.0.0.1:" + health, "LOG_LEVEL=info", "CONCURRENCY=6",
	}, bin.service, "run")
	eventually(t, 30*time.Second, "the service is healthy", func() bool { return strings.Contains(w.get("/health"), `"healthy"`) })
	return w
}

func (w *rotationWorld) path(secret string) string { return filepath.Join(w.dir, secret) }

func (w *rotationWorld) get(path string) string {
	client := &http.Client{Timeout: 2 * time.Second}
	reply, err := client.Get(w.health + path)
	if err != nil {
		return err.Error()
	}
	defer reply.Body.Close()
	text, _ := io.ReadAll(reply.Body)
	return string(text)
}

// answer answers as Zero does.
func (w *rotationWorld) answer(to http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var question struct{ Variables struct{ Token string } }
	if json.NewDecoder(r.Body).Decode(&question) != nil || question.Variables.Token != w.token {
		to.WriteHeader(http.StatusUnauthorized)
		return
	}
	type field struct{ Name, Value string }
	var fields []field
	for name, value := range w.zero {
		fields = append(fields, field{name, value})
	}
	_ = json.NewEncoder(to).Encode(map[string]any{"data": map[string]any{"secrets": []any{map[string]any{"name": "evently", "fields": fields}}}})
}

// server gives a password to the server, which ends the connections of before.
func (w *rotationWorld) server(secret string, n int) {
	w.t.Helper()
	next := password(secret, n)
	switch secret {
	case "SMTP_PASSWORD":
		w.relay.SetLogin("evently", next)
		w.hangUp.Store(n > 0)
	case "REDIS_PASSWORD":
		w.redis.do("ACL", "SETUSER", "worker", "resetpass", ">"+next)
		w.redis.do("CLIENT", "KILL", "USER", "worker")
	case "DB_PASSWORD":
		w.postgres.Exec("evently", `ALTER ROLE worker PASSWORD '`+next+`'`)
		w.postgres.Exec("evently", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'worker'`)
	case "ZERO_TOKEN":
		w.mu.Lock()
		w.token = next
		w.mu.Unlock()
	}
}

// source puts a password where the service looks for it, as Kubernetes and Zero do.
func (w *rotationWorld) source(secret string, n int) {
	w.t.Helper()
	next := password(secret, n)
	switch secret {
	case "DB_PASSWORD":
		w.mu.Lock()
		w.zero["db-password"] = next
		w.mu.Unlock()
		return
	case "REDIS_PASSWORD":
		next = "redis://worker:" + next + "@" + w.redis.addr() + "/0"
	}
	temporary := w.path("new")
	if err := os.WriteFile(temporary, []byte(next+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(temporary, w.path(secret)); err != nil {
		w.t.Fatal(err)
	}
}

// rotate replaces secrets: at the server first, or where the service looks for them.
func (w *rotationWorld) rotate(serverFirst bool, gap time.Duration, secrets ...string) {
	w.t.Helper()
	change := []func(string, int){w.source, w.server}
	if serverFirst {
		change = []func(string, int){w.server, w.source}
	}
	for _, secret := range secrets {
		w.passwords[secret]++
	}
	for i, f := range change {
		for _, secret := range secrets {
			f(secret, w.passwords[secret])
		}
		if i == 0 || !serverFirst {
			w.service.signal(syscall.SIGHUP)
		}
		if i == 0 {
			time.Sleep(gap)
		}
	}
	w.service.signal(syscall.SIGHUP)
	what := fmt.Sprintf("%v accepted, server first %t", secrets, serverFirst)
	eventually(w.t, time.Minute, what, func() bool {
		metrics := w.get("/metrics")
		for _, secret := range secrets {
			if !strings.Contains(metrics, fmt.Sprintf("evently_secret_reloads_total{result=\"accepted\",secret=%q} %d\n", secret, w.passwords[secret])) {
				return false
			}
		}
		return true
	})
	w.hangUp.Store(false)
}

// All secrets are replaced under load, in both orders, over and over: no mail is lost, none is
// doubled, and none spends an attempt. A few in CI, ROTATIONS=10 for ten of each secret in
// each order.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	rounds, gap, pause := 2, 300*time.Millisecond, 10*time.Millisecond
	if text := os.Getenv("ROTATIONS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("ROTATIONS: %v", err)
		}
		gap = 2 * time.Second
	}
	w := startRotationWorld(t)
	var ids []string
	stop, stopped := make(chan struct{}), make(chan struct{})
	admin := w.redis
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
			m := &protocol.Message{
				Protocol: 2, ID: fmt.Sprintf("6f2b9a51-1d9c-4a8c-a0c3-%012d", n), Task: prefix + "send_booking_confirmation",
				Args: protocol.Raw(fmt.Sprintf(`[%d, {"event_name": "Event %06d"}]`, outageUser, n)), Kwargs: protocol.Raw(`{}`),
				DeliveryTag: fmt.Sprintf("7d1f2c3a-8f5b-4f6b-9b6e-%012d", n), RoutingKey: queue,
			}
			raw, err := protocol.Encode(m)
			if err == nil {
				_, err = admin.Try("LPUSH", queue, raw)
			}
			if err != nil {
				t.Errorf("publish: %v", err)
				return
			}
			ids = append(ids, m.ID)
		}
	}()
	began := time.Now()
	for range rounds {
		if os.Getenv("ROTATIONS") == "" {
			w.rotate(false, gap, rotated...)
			w.rotate(true, gap, "REDIS_PASSWORD", "DB_PASSWORD", "ZERO_TOKEN", "SMTP_PASSWORD")
			continue
		}
		for _, secret := range rotated {
			w.rotate(false, gap, secret)
			w.rotate(true, gap, secret)
		}
	}
	t.Logf("%d replacements in %v", 2*rounds*len(rotated), time.Since(began).Round(time.Millisecond))
	close(stop)
	<-stopped
	awaitResults(w.redis, ids, 3*time.Minute)
	t.Logf("all %d mails after %v", len(ids), time.Since(began).Round(time.Millisecond))
	seen := map[string]int{}
	for _, m := range w.relay.Mails() {
		_, rest, _ := strings.Cut(string(m.Data), "\r\nSubject: Booking Confirmation - Event ")
		seen[rest[:min(6, len(rest))]]++
	}
	for n := range ids {
		if got := seen[fmt.Sprintf("%06d", n)]; got != 1 {
			t.Errorf("mail %d was sent %d times", n, got)
		}
	}
	if n := w.redis.int("HLEN", "_goworker.1.dead"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	log := w.service.out.String()
	if path := os.Getenv("ROTATION_LOG"); path != "" {
		_ = os.WriteFile(path, []byte(log+"\n"+w.get("/health/configuration")), 0o600) // for a person
	}
	if n := strings.Count(log, "mail will be retried"); n != 0 {
		t.Errorf("%d attempts spent", n)
	}
	t.Logf("deferred without a retry: %d", strings.Count(log, "mail deferred, no retry spent"))
	if strings.Contains(log, "cAnArY") {
		t.Error("the log shows a password")
	}
	eventually(t, time.Minute, "the health is ok", func() bool {
		return strings.HasPrefix(strings.Join(strings.Fields(w.get("/health/configuration")), ""), `{"ok":true,"text":"valid","status":"ok"`)
	})
	if text := w.get("/health/configuration") + w.get("/metrics"); strings.Contains(text, "cAnArY") {
		t.Error("the health shows a password")
	}
	w.redis.settled(queue)
}
