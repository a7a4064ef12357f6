package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// The user of the database may not read users, then the table is gone: health
// tells it with the remedy, the mail waits in its queue without spending its one
// retry, and goes out when all is mended.
func testDatabase(t *testing.T, p binary) {
	server, database := redistest.Start(t), storetest.Postgres(t)
	database.Exec(storetest.Database, `CREATE ROLE reader LOGIN PASSWORD '`+canary+`';
		INSERT INTO users (id, email, is_active) VALUES (7, 'ann@b.example', true)`)
	relay := smtptest.New(t, smtptest.Options{})
	const queue, id = "email_notifications", "6f2b9a51-1d9c-4a8c-a0c3-3c3e5d0f1a15"
	raw, err := protocol.Encode(&protocol.Message{
		Protocol: 2, ID: id, Task: "send_booking_confirmation", Args: protocol.Raw(`[7, {"event_name": "Gala"}]`),
		Kwargs: protocol.Raw(`{}`), DeliveryTag: "7d1f2c3a-8f5b-4f6b-9b6e-2b7a9d5c1e26", RoutingKey: queue,
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := server.Conn(0)
	if _, err := conn.Do("LPUSH", queue, raw); err != nil {
		t.Fatal(err)
	}
	l := p.start(t, "REDIS_URL="+server.URL(0), "MONITOR_ADDR=off", "RETRY_DELAY=0.1", "MAX_RETRIES=1",
		"DB_HOST=127.0.0.1", fmt.Sprintf("DB_PORT=%d", database.Port), "DB_NAME="+storetest.Database, "DB_USER=reader", "DB_PASSWORD="+canary,
		"SMTP_HOST=127.0.0.1", fmt.Sprintf("SMTP_PORT=%d", relay.Port()), "SMTP_TLS_MODE=none")
	l.answers("/readyz", 200)
	l.answers("/health/database", 503)
	env := []string{"HEALTH_ADDR=" + strings.TrimPrefix(l.url, "http://")}
	out, _, code := p.run(t, env, "health")
	if code != 0 || !strings.Contains(out, ": degraded; ") || !strings.Contains(out, "permission denied for table users (42501)") || !strings.Contains(out, "GRANT SELECT ON users TO") {
		t.Errorf("health: exit code %d, %q", code, out)
	}
	l.tells("mail tasks held in their queues")
	last := ""
	database.Exec(storetest.Database, `ALTER TABLE users RENAME TO people`)
	l.tells(`relation \"users\" does not exist`)
	if n, err := conn.Do("LLEN", queue); err != nil || n != int64(1) {
		t.Errorf("mails that wait in the queue: %v, %v; want 1", n, err)
	}
	if n, err := conn.Do("EXISTS", "_goworker.1.dead"); err != nil || n != int64(0) {
		t.Errorf("there are dead letters: %v, %v", n, err)
	}
	database.Exec(storetest.Database, `ALTER TABLE people RENAME TO users; GRANT SELECT ON users TO reader`)
	eventually(t, "the mail", func() bool { return len(relay.Mails()) == 1 }, &last)
	var result struct {
		Status  string
		Result  struct{ Success bool }
		Retries int
	}
	eventually(t, "the result", func() bool {
		stored, err := conn.Do("GET", "celery-task-meta-"+id)
		last = fmt.Sprintf("%s", stored)
		return err == nil && json.Unmarshal([]byte(last), &result) == nil && result.Status == "SUCCESS"
	}, &last)
	if !result.Result.Success {
		t.Errorf("result %s", last)
	}
	if code := l.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	if strings.Contains(l.output(), canary) || strings.Contains(l.output(), "ann@") {
		t.Error("a password or an address is in the log")
	}
}
