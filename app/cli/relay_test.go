package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// The password of the relay is wrong, and mended while a mail waits: the health
// tells, no secret is in the log, and the mail goes out under the sender's name
// with the subject that everybody knows.
func testRelay(t *testing.T, p binary) {
	var mended atomic.Bool
	relay := smtptest.New(t, smtptest.Options{
		Username: "mailer", Password: canary,
		Script: func(s smtptest.Step) smtptest.Action {
			if s.Command == "AUTH" && !mended.Load() {
				return smtptest.Action{Reply: "535 5.7.8 user mailer cannot log in with " + canary}
			}
			return smtptest.Action{}
		},
	})
	server := redistest.Start(t)
	conn := server.Conn(0)
	const queue = "email_notifications"
	raw, err := protocol.Encode(&protocol.Message{
		Protocol: 2, ID: "6f2b9a51-1d9c-4a8c-a0c3-3c3e5d0f1a13", Task: "send_otp_verification_email",
		Args:   protocol.Raw(`[{"email": "a@b.example", "otp": "482913"}]`),
		Kwargs: protocol.Raw(`{}`), DeliveryTag: "7d1f2c3a-8f5b-4f6b-9b6e-2b7a9d5c1e24", RoutingKey: queue,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Do("LPUSH", queue, raw); err != nil {
		t.Fatal(err)
	}
	l := p.start(t, "REDIS_URL="+server.URL(0), "DB_HOST=127.0.0.1", "DB_PORT=1", "MONITOR_ADDR=off", "RETRY_DELAY=0.1", "LOG_LEVEL=debug",
		"SMTP_HOST=127.0.0.1", fmt.Sprintf("SMTP_PORT=%d", relay.Port()), "SMTP_TLS_MODE=none",
		"SMTP_USERNAME=mailer", "SMTP_PASSWORD="+canary+"\n", // as echo wrote it
		"FROM_NAME=Partner & Söhne", "FROM_ADDRESS=tickets@partner.example")
	l.answers("/readyz", 200)
	l.answers("/health/mail", 503)
	l.answers("/debug/pprof/heap", 404)

	env := []string{"HEALTH_ADDR=" + strings.TrimPrefix(l.url, "http://")}
	out, _, code := p.run(t, env, "health")
	if code != 0 || !strings.Contains(out, ": degraded; ") || !strings.Contains(out, "mail no mail gets out for ") || !strings.Contains(out, "535 5.7.8 at AUTH: user mailer cannot log in with ***") {
		t.Errorf("health: exit code %d, %q", code, out)
	}
	out, _, _ = p.run(t, env, "health", "--json")
	var report struct {
		Status string
		Mail   struct {
			OK   bool
			Text string
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Status != "degraded" || report.Mail.OK || strings.Contains(out, canary) {
		t.Errorf("health --json: %v, %s", err, out)
	}

	mended.Store(true)
	sent := relay.Mails()
	last := "no mail"
	eventually(t, "the mail", func() bool { sent = relay.Mails(); return len(sent) == 1 }, &last)
	l.answers("/health/mail", 200)
	text := sent[0].Text()
	if !strings.Contains(text, "\nSubject: Verify Your Email - Evently\n") || !strings.Contains(text, "\nEvently\n") {
		t.Errorf("the mail has another brand:\n%s", text)
	}
	if !strings.Contains(text, "\nFrom: =?UTF-8?q?Partner_&_S=C3=B6hne?= <tickets@partner.example>\n") {
		t.Errorf("the mail has another sender:\n%.500s", text)
	}
	if code := l.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	log := l.output()
	if strings.Contains(log, canary) || strings.Contains(log, "482913") {
		t.Error("a secret is in the log")
	}
	if !strings.Contains(log, "SMTP_PASSWORD: ends in a line break") || !strings.Contains(log, "cannot log in with ***") {
		t.Error("the log does not tell of the line break, or of the refusal")
	}
}
