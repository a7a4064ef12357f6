package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/store/storetest"
)

// historyRelay answers by the local part of the recipient.
type historyRelay struct {
	*smtptest.Server

	mu sync.Mutex
	to map[int]string // by connection
}

const historyCode = "730518"

func startHistoryRelay(t *testing.T) *historyRelay {
	r := &historyRelay{to: map[int]string{}}
	r.Server = smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.Command == "RCPT" {
			_, address, _ := strings.Cut(s.Line, "<")
			r.to[s.Conn], _, _ = strings.Cut(address, "@")
		}
		switch to := r.to[s.Conn]; {
		case s.Command == "RCPT" && to == "refused":
			return smtptest.Action{Reply: "550 5.1.1 <refused@mail.example> is not here, nor is " + historyCode}
		case s.Command == "RCPT" && (to == "later" || to == "dead"):
			return smtptest.Action{Reply: "450 4.2.1 mailbox is busy"}
		case s.Command == "." && to == "lost":
			return smtptest.Action{Then: smtptest.Close}
		}
		return smtptest.Action{}
	}})
	return r
}

// historyWorld is the service with such a relay.
type historyWorld struct {
	*platform
	relay *historyRelay
	env   []string
	port  string
}

func startHistoryWorld(t *testing.T, more ...string) *historyWorld {
	w := &historyWorld{platform: startPlatform(t), relay: startHistoryRelay(t), port: freePort(t)}
	w.addUser(t, 7, "booker@mail.example", true)
	w.addUser(t, 8, "later@mail.example", true)
	w.env = append(w.platform.env(t, more...), fmt.Sprintf("SMTP_PORT=%d", w.relay.Port()), "MAX_RETRIES=1", "RETRY_DELAY=600", "HEALTH_ADDR=127.0.0.1:"+w.port)
	return w
}

func (w *historyWorld) start(t *testing.T) *process {
	proc := start(t, "evently-workers", w.env, bin.service, "run")
	eventually(t, time.Minute, "the service consumes", func() bool { return w.status("/readyz") == http.StatusOK })
	return proc
}

func (w *historyWorld) status(page string) int {
	client := &http.Client{Timeout: 2 * time.Second}
	reply, err := client.Get("http://127.0.0.1:" + w.port + page)
	if err != nil {
		return 0
	}
	reply.Body.Close()
	return reply.StatusCode
}

// metric returns the line of a metric without labels.
func (w *historyWorld) metric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(fetch(t, "http://127.0.0.1:"+w.port+"/metrics")) {
		if strings.HasPrefix(line, name+" ") {
			return line
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}

// command runs the program with the address of a Redis that is not there.
func (w *historyWorld) command(t *testing.T, more []string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin.service, args...)
	cmd.Env = append([]string{"REDIS_URL=redis://127.0.0.1:1/0", testkit.RaceOptions}, more...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return both.String(), cmd.ProcessState.ExitCode()
}

// ask asks until was-it-sent gives the exit code, and checks its first line.
func (w *historyWorld) ask(t *testing.T, env []string, of string, code int, has string) string {
	t.Helper()
	var out string
	var got int
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		out, got = w.command(t, env, "was-it-sent", of)
		if first, _, _ := strings.Cut(out, "\n"); got == code && strings.Contains(first, has) {
			return out
		}
	}
	t.Errorf("was-it-sent %s: exit code %d, want %d and %q\n%s", of, got, code, has, out)
	return out
}

func otpTo(to string) []any { return []any{map[string]any{"email": to, "otp": historyCode}} }

// TestHistory sends mails with each outcome from Python, and asks for them by all that
// identifies them. Neither the history nor an answer has a code in it.
func TestHistory(t *testing.T) {
	t.Parallel()
	const key = "k3y-of-the-operator"
	w := startHistoryWorld(t, "LEDGER_KEY="+key, "DB_PASSWORD=pa55-of-the-database")
	w.start(t)
	send := func(task string, args []any) string {
		return flood(t, celeryNew, w.redis, queue, 1, prefix+task, args, nil)[0]
	}
	code := send("send_otp_verification_email", otpTo("ada@mail.example"))
	booking := send("send_booking_confirmation", []any{7, map[string]any{"event_name": "Jazz", "booking_id": "BK-17"}})
	later := send("send_booking_confirmation", []any{8, map[string]any{"event_name": "Jazz", "booking_id": "BK-18"}})
	refused := send("send_otp_verification_email", otpTo("refused@mail.example"))
	lost := send("send_welcome_email", []any{map[string]any{"email": "lost@mail.example", "username": "lost"}})
	dead := send("send_otp_verification_email", otpTo("dead@mail.example"))

	bare := []string{"DATABASE_URL=" + w.postgres.URL(), "LEDGER_KEY=" + key} // without Redis
	full := append(slices.Clone(bare), "REDIS_URL="+w.redis.url())
	outputs := []string{
		w.ask(t, bare, code, 0, "Yes. The mail server 127.0.0.1:"),
		w.ask(t, bare, "ada@mail.example", 0, "accepted the otp mail to a"),
		w.ask(t, bare, "7", 0, "accepted the booking confirmation mail"),
		w.ask(t, bare, "BK-17", 0, "(user 7, booking or event BK-17)"),
		w.ask(t, bare, booking, 0, "Yes."),
		w.ask(t, bare, later, 1, "Not yet. Attempt 1"),
		w.ask(t, full, "8", 1, "The next attempt is at"),
		w.ask(t, full, refused, 1, "No. "),
		w.ask(t, full, lost, 3, "the mail may have been delivered"),
		w.ask(t, full, dead, 1, "was given up and became a dead letter"),
		w.ask(t, full, "absent@mail.example", 3, "the history has no mail"),
		w.ask(t, full, "no-such-task", 3, "the history has no mail"),
	}
	for i, want := range map[int]string{7: "Dead letter ", 8: "Dead letter ", 9: "dead-letters retry ", 10: "It begins at", 11: "neither a dead letter nor a result"} {
		if !strings.Contains(outputs[i], want) {
			t.Errorf("no %q in\n%s", want, outputs[i])
		}
	}
	if s := w.status("/health/history"); s != http.StatusOK {
		t.Errorf("/health/history is %d", s)
	}

	// The database stops for a while: the events wait, and none is lost.
	w.postgres.Stop()
	away := send("send_otp_verification_email", otpTo("away@mail.example"))
	eventually(t, 30*time.Second, "a mail without the database", func() bool { return strings.Contains(w.result(away), "SUCCESS") })
	var stream string
	if !testkit.Poll(30*time.Second, func() bool {
		stream = fmt.Sprintf("%s", w.redis.do("XRANGE", w.streamKey(t), "-", "+"))
		return strings.Contains(stream, "otp")
	}) {
		t.Errorf("the stream has no event of the mail: %s", stream)
	}
	if out, exit := w.command(t, full, "was-it-sent", away); exit != 0 || !strings.Contains(out, "by the result") || !strings.Contains(out, "cannot be read") {
		t.Errorf("without the database: exit code %d\n%s", exit, out)
	}
	w.postgres.Start()
	outputs = append(outputs, stream, w.ask(t, bare, away, 0, "Yes."), w.ask(t, bare, "away@mail.example", 0, "Yes."))
	eventually(t, time.Minute, "no event waits", func() bool { return w.redis.int("XLEN", w.streamKey(t)) == 0 })

	for _, args := range [][]string{{"deliveries", "list", "--json"}, {"deliveries", "list"}, {"deliveries", "show", refused}, {"deliveries", "stats"}, {"ledger", "status"}} {
		out, exit := w.command(t, full, args...)
		if exit != 0 {
			t.Errorf("%q: exit code %d\n%s", args, exit, out)
		}
		outputs = append(outputs, out)
	}
	outputs = append(outputs, w.tables(t))
	if out, exit := w.command(t, bare, "deliveries", "list", "--show-addresses", "--address", "REFUSED@mail.example"); exit != 0 || !strings.Contains(out, "refused@mail.example") {
		t.Errorf("the address with the key: exit code %d\n%s", exit, out)
	}
	for _, out := range outputs {
		for _, secret := range []string{historyCode, "booker@mail.example", "refused@mail.example", "Jazz", "Verify Your Email", key, "pa55-of-the-database", storetest.Password} {
			if strings.Contains(out, secret) {
				t.Errorf("%q in %s", secret, last(out, 3000))
			}
		}
	}
}

// result returns the stored result of a task as text.
func (w *historyWorld) result(id string) string {
	text, _ := w.redis.do("GET", "celery-task-meta-"+id).([]byte)
	if len(text) == 0 {
		return ""
	}
	return string(text)
}

// streamKey returns the key of the events.
func (w *historyWorld) streamKey(t *testing.T) string {
	t.Helper()
	keys := w.redis.strings("KEYS", "*stream*mail*")
	if len(keys) == 0 {
		return "no stream"
	}
	return keys[0]
}

// tables returns all rows of the history as text.
func (w *historyWorld) tables(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, table := range []string{"mails", "events", "counts", "classes", "domains", "meta"} {
		rows, err := w.users.Query("SELECT t::text FROM evently_mail." + table + " AS t")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; rows.Next(); n++ {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			all.WriteString(row + "\n")
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			t.Errorf("the table %s is empty: nothing is proved", table)
		}
	}
	return all.String()
}

// TestHistoryWithoutRights lets the service read users and nothing else: mails are sent, and
// health and commands say why there is no history and what to do. An administrator then runs
// the SQL that the program prints.
func TestHistoryWithoutRights(t *testing.T) {
	t.Parallel()
	w := startHistoryWorld(t)
	w.postgres.Exec("evently", "CREATE ROLE mailer LOGIN PASSWORD 'mailer'; GRANT SELECT ON users TO mailer; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	database := fmt.Sprintf("DATABASE_URL=postgres://mailer:mailer@127.0.0.1:%d/evently?sslmode=disable", w.postgres.Port)
	w.env = append(w.env, database)
	proc := w.start(t)
	id := flood(t, celeryNew, w.redis, queue, 1, prefix+"send_booking_confirmation", []any{7, map[string]any{"booking_id": "BK-1"}}, nil)[0]
	eventually(t, 30*time.Second, "the mail", func() bool { return strings.Contains(w.result(id), "SUCCESS") })
	eventually(t, 30*time.Second, "health says that there is no history", func() bool { return w.status("/health/history") == http.StatusServiceUnavailable })
	if text := fetchAny(t, "http://127.0.0.1:"+w.port+"/health/history"); !strings.Contains(text, "lacks rights (42501)") || !strings.Contains(text, "ledger migrations --sql") {
		t.Errorf("/health/history: %s", text)
	}
	if w.status("/readyz") != http.StatusOK || w.status("/health") != http.StatusOK {
		t.Error("the service is not ready without a history")
	}
	out, code := w.command(t, []string{database}, "was-it-sent", id)
	if code != 3 || !strings.Contains(out, "ledger migrations --sql") {
		t.Errorf("was-it-sent: exit code %d\n%s", code, out)
	}
	// Redis knows the result, and the reason is told nevertheless.
	out, code = w.command(t, []string{database, "REDIS_URL=" + w.redis.url()}, "was-it-sent", id)
	if code != 0 || !strings.Contains(out, "by the result") || !strings.Contains(strings.Join(strings.Fields(out), " "), "ledger migrations --sql") {
		t.Errorf("was-it-sent with Redis: exit code %d\n%s", code, out)
	}
	sql, _ := w.command(t, nil, "ledger", "migrations", "--sql")
	w.postgres.Exec("evently", sql)
	w.postgres.Exec("evently", "GRANT USAGE ON SCHEMA evently_mail TO mailer; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA evently_mail TO mailer")
	w.ask(t, []string{database}, id, 0, "Yes.") // the events have waited
	eventually(t, 30*time.Second, "health says that there is a history", func() bool { return w.status("/health/history") == http.StatusOK })
	proc.signal(15)
	if code := proc.wait(time.Minute); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
