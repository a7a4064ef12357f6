package cli_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// Two messages that cannot be done, the command for them, and a real Redis.
func testDeadLetters(t *testing.T, p binary) {
	server := redistest.Start(t)
	// Without a relay the worker would leave the broken message among the held mails.
	relay := smtptest.New(t, smtptest.Options{})
	env := []string{
		"REDIS_URL=" + server.URL(0), "MONITOR_ADDR=off", "DB_HOST=127.0.0.1",
		"SMTP_HOST=127.0.0.1", fmt.Sprintf("SMTP_PORT=%d", relay.Port()), "SMTP_TLS_MODE=none",
	}
	conn := server.Conn(0)
	const queue = "email_notifications"
	unknown, err := protocol.Encode(&protocol.Message{
		Protocol: 2, ID: "6f2b9a51-1d9c-4a8c-a0c3-3c3e5d0f1a11", Task: "shop.tasks.unknown",
		Args:   protocol.Raw(`[{"email": "a@b.example", "otp": "` + canary + `", "1 2": [1, null, true]}]`),
		Kwargs: protocol.Raw(`{}`), DeliveryTag: "7d1f2c3a-8f5b-4f6b-9b6e-2b7a9d5c1e22", RoutingKey: queue,
	})
	if err != nil {
		t.Fatal(err)
	}
	broken := []byte(`{"` + canary)
	for _, raw := range [][]byte{broken, unknown} {
		if _, err := conn.Do("LPUSH", queue, raw); err != nil {
			t.Fatal(err)
		}
	}

	l := p.start(t, env...)
	l.answers("/readyz", 200)
	var list []struct {
		ID, Queue, Reason, Task, State string
		Size                           int
	}
	last := ""
	eventually(t, "two dead letters", func() bool {
		out, errs, code := p.run(t, env, "dead-letters", "list", "--json")
		last = out + errs
		return code == 0 && json.Unmarshal([]byte(out), &list) == nil && len(list) == 2
	}, &last)
	if code := l.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	if strings.Contains(l.output(), canary) {
		t.Error("a secret is in the log")
	}

	byTask := make(map[string]string)
	for _, d := range list {
		byTask[d.Task] = d.ID
		if d.Queue != queue || d.State != "open" || d.Reason == "" || d.Size == 0 {
			t.Errorf("incomplete: %+v", d)
		}
	}
	unknownID, brokenID := byTask["shop.tasks.unknown"], byTask[""]
	out, _, _ := p.run(t, env, "dead-letters", "list")
	for _, want := range []string{"ID ", "REASON", unknownID, brokenID, "shop.tasks.unknown"} {
		if !strings.Contains(out, want) {
			t.Errorf("list has no %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "QUEUE") {
		t.Errorf("list has a column for the one queue:\n%s", out)
	}
	cmd := p.command(t, env, "dead-letters", "list")
	if narrow, code := onTerminalOf(t, cmd, "", 40); code != 0 || !strings.Contains(narrow, "shop.tasks.unknown") || !strings.Contains(narrow, "  unknown task") {
		t.Errorf("list on a narrow terminal: exit code %d\n%s", code, narrow)
	} else {
		for line := range strings.Lines(narrow) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n > 40 {
				t.Errorf("%d columns on a terminal of 40: %s", n, line)
			}
		}
	}
	if _, errs, _ := p.run(t, env, "dead-letters", "list", "--limit", "1"); !strings.Contains(errs, "1 of 2") {
		t.Errorf("list --limit 1 does not tell of the rest: %q", errs)
	}

	for _, args := range []string{"list", "causes", "show abcd", "resolve abcd", "edit abcd --set a=b", "retry --all --yes"} {
		out, errs, code := p.run(t, append(slices.Clone(env), "REDIS_URL=redis://127.0.0.1:1/0"), append([]string{"dead-letters"}, strings.Fields(args)...)...)
		if code != 1 || out != "" || !strings.Contains(errs, "\ncheck REDIS_URL") {
			t.Errorf("%s without Redis: exit code %d, %q, %q", args, code, out, errs)
		}
	}
	out, _, code := p.run(t, env, "dead-letters", "show", unknownID)
	const shape = `[{"email": string, "otp": string, (name): [number, null, boolean]}]`
	if code != 0 || !strings.Contains(out, shape) || strings.Contains(out, "a@b.example") {
		t.Errorf("show: exit code %d, want the shape %s and no values:\n%s", code, shape, out)
	}
	out, _, code = p.run(t, env, "dead-letters", "show", "--json", brokenID[:6])
	if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"unreadable"`) {
		t.Errorf("show --json: exit code %d, %s", code, out)
	}
	// The exact bytes, and only when asked for; run would object to the secret.
	raw, err := p.command(t, env, "dead-letters", "show", "--raw", brokenID).Output()
	if err != nil || string(raw) != string(broken) {
		t.Errorf("show --raw: %v, %q", err, raw)
	}

	out, errs, code := p.run(t, env, "dead-letters", "retry", brokenID, unknownID[:6], "nonsense")
	if code != 1 || out != "back in their queues: 1\n" || strings.Count(errs, "\n") != 2 {
		t.Errorf("retry of a good, a broken and an unknown one: exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	if n, err := conn.Do("LLEN", queue); err != nil || n != int64(1) {
		t.Errorf("%v messages in the queue after the retry, %v", n, err)
	}
	if _, errs, code := p.run(t, env, "dead-letters", "delete", "--all"); code != 2 || !strings.Contains(errs, "--yes") {
		t.Errorf("delete --all without --yes: exit code %d, %q", code, errs)
	}
	askOnTerminal(t, p, env)
	if out, _, code := p.run(t, env, "dead-letters", "delete", "--all", "--yes"); code != 0 || out != "deleted: 1\n" {
		t.Errorf("delete --all --yes: exit code %d, %q", code, out)
	}
	if out, _, code := p.run(t, env, "dead-letters", "list"); code != 0 || !strings.Contains(out, "no open dead letters") {
		t.Errorf("list of nothing: exit code %d, %q", code, out)
	}
	server.Kill()
	_, errs, code = p.run(t, env, "dead-letters", "list")
	checkChain(t, errs)
	if code != 1 || !regexp.MustCompile(`(?i)redis`).MatchString(errs) {
		t.Errorf("list without Redis: exit code %d, %q", code, errs)
	}
}
