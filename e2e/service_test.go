package e2e_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/evently/workers/store/storetest"
)

const (
	queue  = "email_notifications"
	prefix = "email_workers.tasks."
)

// platform is all that the service needs, for real.
type platform struct {
	redis    *redisServer
	postgres *storetest.Server
	users    *sql.DB
	sink     *sink
}

func startPlatform(t testing.TB) *platform {
	t.Helper()
	p := &platform{redis: startRedis(t), postgres: storetest.Postgres(t), sink: startSink(t)}
	p.users = p.postgres.DB()
	return p
}

// env is the configuration of the service, by nothing but the variables that an
// operator sets.
func (p *platform) env(t testing.TB, more ...string) []string {
	t.Helper()
	return append([]string{
		"REDIS_URL=" + p.redis.url(),
		"DATABASE_URL=" + p.postgres.URL(),
		"SMTP_HOST=127.0.0.1", "SMTP_PORT=" + p.sink.port, "SMTP_TLS_MODE=none",
		"SITE_URL=https://evently.example", "LINK_HOSTS=evently.example",
		"HEALTH_ADDR=127.0.0.1:" + freePort(t), "MONITOR_ADDR=127.0.0.1:" + freePort(t),
		"LOG_LEVEL=debug",
	}, more...)
}

// startService starts "evently-workers run" and waits until it says that it is
// healthy.
func (p *platform) startService(t testing.TB, more ...string) *process {
	t.Helper()
	port := freePort(t)
	proc := start(t, "evently-workers", p.env(t, append(more, "HEALTH_ADDR=127.0.0.1:"+port)...), bin.service, "run")
	client := &http.Client{Timeout: 2 * time.Second}
	eventually(t, 30*time.Second, "the service is healthy", func() bool {
		if proc.ended() {
			t.Fatalf("the service ended at its start: %v\n%s", proc.Cmd.ProcessState, proc.out.String())
		}
		reply, err := client.Get("http://127.0.0.1:" + port + "/health")
		if err != nil {
			return false
		}
		reply.Body.Close()
		return reply.StatusCode == http.StatusOK
	})
	return proc
}

// addUser enters a user as the auth service does.
func (p *platform) addUser(t testing.TB, id int, email string, active bool) {
	t.Helper()
	const insert = `INSERT INTO users (id, email, username, is_active, is_verified) VALUES ($1, $2, $3, $4, true)`
	if _, err := p.users.ExecContext(t.Context(), insert, id, email, fmt.Sprintf("user%d", id), active); err != nil {
		t.Fatal(err)
	}
}
