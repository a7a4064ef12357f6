package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// testSuppressions sends mails to an address that does not exist: it is suppressed, the next
// mail is not sent, and after a release it is.
func testSuppressions(t *testing.T, p binary) {
	server, database := redistest.Start(t), storetest.Postgres(t)
	database.Exec(storetest.Database, `INSERT INTO users (id, email, is_active) VALUES (7, 'ann@b.example', true), (8, 'eve@b.example', true)`)
	var refuse atomic.Bool
	refuse.Store(true)
	relay := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "RCPT" && strings.Contains(s.Line, "ann@") && refuse.Load() {
			return smtptest.Action{Reply: "550 5.1.1 <ann@b.example>: user unknown"}
		}
		return smtptest.Action{}
	}})
	env := []string{
		"DATABASE_URL=" + strings.TrimSuffix(database.URL(), "?sslmode=disable") + "?sslmode=disable", "LEDGER_KEY=" + ledgerKey,
		"REDIS_URL=" + server.URL(0), "MONITOR_ADDR=off",
	}
	l := p.start(t, append(env, "SMTP_HOST=127.0.0.1", fmt.Sprintf("SMTP_PORT=%d", relay.Port()), "SMTP_TLS_MODE=none")...)
	l.answers("/readyz", 200)
	// A worker that found no tables at its first mail asks for suppressions again a second later.
	eventually(t, "the tables of the history", func() bool { return strings.Contains(l.output(), "history of mails is being written") }, new(string))
	conn := server.Conn(0)
	n := 0
	send := func(task, args string) (result string) {
		t.Helper()
		n++
		const queue = "email_notifications"
		id := fmt.Sprintf("6f2b9a51-1d9c-4a8c-a0c3-%012d", n)
		raw, err := protocol.Encode(&protocol.Message{
			Protocol: 2, ID: id, Task: task, Args: protocol.Raw(args), Kwargs: protocol.Raw(`{}`), DeliveryTag: id, RoutingKey: queue,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Do("LPUSH", queue, raw); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the result of "+id, func() bool {
			stored, _ := conn.Do("GET", "celery-task-meta-"+id)
			var r struct {
				Status string
				Result json.RawMessage
			}
			text, _ := stored.([]byte)
			if json.Unmarshal(text, &r) != nil || r.Status != "SUCCESS" {
				return false
			}
			var b bytes.Buffer
			_ = json.Compact(&b, r.Result)
			result = b.String()
			return true
		}, &result)
		return result
	}
	booking := func(user int) string {
		return send("send_booking_confirmation", fmt.Sprintf(`[%d, {"event_name": "Gala"}]`, user))
	}
	code := func() string {
		return send("send_otp_verification_email", `[{"email": "Ann@b.example", "otp": "048213"}]`)
	}
	if got := booking(7); !strings.Contains(got, "recipient address refused: 550 5.1.1 at RCPT") {
		t.Errorf("the first mail: %s", got)
	}
	last := ""
	eventually(t, "the suppression", func() bool {
		last, _, _ = p.run(t, env, "suppressions", "list", "--json")
		return strings.Contains(last, `"bad_address"`)
	}, &last)
	if strings.Contains(last, "ann@") || !strings.Contains(last, `"reply"`) || !strings.Contains(last, "550") {
		t.Errorf("list --json: %s", last)
	}
	for what, got := range map[string]string{"mail": booking(7), "code": code()} {
		if !strings.Contains(got, `"success":false,"error":"recipient address is suppressed: bad_address since `) {
			t.Errorf("the next %s: %s", what, got)
		}
	}
	if got := booking(8); !strings.Contains(got, `"success":true`) {
		t.Errorf("a mail to another address: %s", got)
	}
	if mails := relay.Mails(); len(mails) != 1 {
		t.Errorf("%d mails at the relay, want that to another address", len(mails))
	}
	metrics := l.get("/metrics")
	if !strings.Contains(metrics, `mails_total{class="bad_address",kind="booking_confirmation",state="suppressed"} 1`) || !strings.Contains(metrics, "mails_unchecked_total 0") {
		t.Errorf("metrics:\n%s", metrics)
	}
	eventually(t, "the history", func() bool {
		var code int
		last, _, code = p.run(t, env, "was-it-sent", "ann@b.example")
		return code == 1 && strings.Contains(last, "because the address is suppressed: bad_address since")
	}, &last)
	if !strings.Contains(last, "The address is suppressed since") || !strings.Contains(last, "suppressions show ") {
		t.Errorf("was-it-sent: %s", last)
	}
	out, errs, status := p.run(t, env, "suppressions", "show", "ann@b.example")
	if status != 0 || errs != "" || !strings.Contains(out, "a***@b.example") || !strings.Contains(out, "no mail is sent") || !strings.Contains(out, "550 5.1.1") || strings.Contains(out, "ann@") {
		t.Errorf("show: exit code %d, %q, %q", status, out, errs)
	}
	if out, _, _ := p.run(t, env, "suppressions", "show", "--show-addresses", "ann@b.example"); !strings.Contains(out, "ann@b.example") {
		t.Errorf("show --show-addresses: %q", out)
	}
	for _, args := range [][]string{{"release", "eve@b.example", "--reason", "x"}, {"release", "zz", "--reason", "x"}, {"show", "nonsense"}, {"add", "ann", "--reason", "x"}} {
		if _, errs, status := p.run(t, env, append([]string{"suppressions"}, args...)...); status != 2 || strings.Count(errs, "\n") > 2 {
			t.Errorf("%q: exit code %d, %q", args, status, errs)
		}
	}
	out, errs, status = p.run(t, env, "suppressions", "release", "ann@b.example", "--reason", "new mailbox")
	if status != 0 || out != "released: 1 suppression\n" || errs != "" {
		t.Errorf("release: exit code %d, %q, %q", status, out, errs)
	}
	refuse.Store(false)
	for what, got := range map[string]string{"mail": booking(7), "code": code()} {
		if !strings.Contains(got, `"success":true`) {
			t.Errorf("a %s after the release: %s", what, got)
		}
	}
	if out, _, _ := p.run(t, env, "suppressions", "show", "ann@b.example"); !strings.Contains(out, "released at ") || !strings.Contains(out, "new mailbox") {
		t.Errorf("show after the release: %q", out)
	}
	if code := l.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if text := l.output(); strings.Contains(text, canary) || strings.Contains(text, "ann@") || !strings.Contains(text, "address is suppressed") {
		t.Error("a password or an address is in the log, or nothing of the suppression")
	}
	if out, errs, code := p.run(t, env, "deliveries", "erase", "--address", "ann@b.example", "--yes"); code != 0 {
		t.Errorf("erase: exit code %d, %q, %q", code, out, errs)
	}
	if out, errs, code := p.run(t, env, "suppressions", "show", "ann@b.example"); code != 1 || out != "" || !strings.Contains(errs, "is not suppressed") {
		t.Errorf("show after the erasure: exit code %d, %q, %q", code, out, errs)
	}
	testSuppressionFiles(t, p, env)
	testSuppressionKeys(t, p, env)
	testSuppressionLists(t, p, env)
}

// testSuppressionFiles imports and exports, with a key and without.
func testSuppressionFiles(t *testing.T, p binary, env []string) {
	file := filepath.Join(t.TempDir(), "list.csv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("address,class\nbob@c.example,complaint\nnobody,complaint\nx@y.example,spam\n")
	_, errs, code := p.run(t, env, "suppressions", "import", file, "--reason", "old list")
	if code != 1 || !strings.Contains(errs, "nothing was imported") || !strings.Contains(errs, "line 3: address") || !strings.Contains(errs, "line 4: class") {
		t.Errorf("import of a bad file: exit code %d, %q", code, errs)
	}
	write("address,class,scope\nbob@c.example,complaint,\ncy@d.example,bad_address,all\n")
	out, errs, code := p.run(t, env, "suppressions", "import", file, "--reason", "old list", "--dry-run")
	if code != 0 || !strings.Contains(out, "would be imported: 2 suppressions of 2 rows") {
		t.Errorf("import --dry-run: exit code %d, %q, %q", code, out, errs)
	}
	out, errs, code = p.run(t, env, "suppressions", "import", file, "--reason", "old list")
	if code != 0 || out != "imported: 2 suppressions of 2 rows\n" || errs != "" {
		t.Errorf("import: exit code %d, %q, %q", code, out, errs)
	}
	withKey, errs, code := p.run(t, env, "suppressions", "export")
	if code != 0 || !strings.Contains(withKey, "bob@c.example") || errs != "exported: 2 suppressions\n" {
		t.Errorf("export: exit code %d, %q, %q", code, withKey, errs)
	}
	without, _, code := p.run(t, append(env, "LEDGER_KEY="), "suppressions", "export")
	if code != 0 || strings.Contains(without, "bob@") || !strings.Contains(without, "b***@c.example") {
		t.Errorf("export without a key: exit code %d, %q", code, without)
	}
	out, _, code = p.run(t, env, "suppressions", "release", "--domain", "c.example", "--dry-run")
	if code != 0 || out != "In force: 1 suppression (complaint 1)\nNothing was released.\n" {
		t.Errorf("release --dry-run: exit code %d, %q", code, out)
	}
	if _, errs, code := p.run(t, env, "suppressions", "release", "--domain", "c.example", "--reason", "x"); code != 2 || !strings.Contains(errs, "--yes") {
		t.Errorf("release without a terminal: exit code %d, %q", code, errs)
	}
	if out, code := onTerminal(t, p.command(t, env, "suppressions", "release", "--class", "bad_address,complaint", "--reason", "x"), "n\n"); code != 1 || !strings.Contains(out, "In force: 2 suppressions (bad_address 1, complaint 1)") || !strings.Contains(out, "nothing was done") {
		t.Errorf("release, no: exit code %d, %q", code, out)
	}
	if out, _, code := p.run(t, env, "suppressions", "release", "--class", "bad_address,complaint", "--reason", "x", "--yes", "--json"); code != 0 || !strings.Contains(out, `"released": 2`) {
		t.Errorf("release --yes: exit code %d, %q", code, out)
	}
	for name, text := range map[string]string{"with addresses": withKey, "with ids": without} {
		write(text)
		if out, errs, code := p.run(t, env, "suppressions", "import", file, "--reason", "back"); code != 0 || !strings.HasPrefix(out, "imported: 2 suppressions of 2 rows") {
			t.Errorf("%s: import: exit code %d, %q, %q", name, code, out, errs)
		}
		if again, _, _ := p.run(t, append(env, "LEDGER_KEY="), "suppressions", "export"); again != without {
			t.Errorf("%s: another file after the way there and back:\n%s\n%s", name, without, again)
		}
		if out, _, code := p.run(t, env, "suppressions", "release", "--source", "import", "--reason", "x", "--yes"); code != 0 || !strings.Contains(out, "released: 2") {
			t.Errorf("%s: release: exit code %d, %q", name, code, out)
		}
	}
}

// testSuppressionLists looks at lists of no, one and 10,000 rows.
// testSuppressionKeys runs commands with another LEDGER_KEY than the worker had: they would
// suppress, and look for, an address that the worker does not find.
func testSuppressionKeys(t *testing.T, p binary, env []string) {
	const other, what = "another-key-of-32-characters-....", "LEDGER_KEY is not that of the workers"
	for _, key := range []string{other, ""} {
		env := append(slices.Clone(env), "LEDGER_KEY="+key)
		for args, code := range map[string]int{
			"suppressions add new@b.example --reason x": 2, "suppressions release new@b.example --reason x": 2, "suppressions show new@b.example": 2,
			"was-it-sent new@b.example": 3, "bounces list --address new@b.example": 0, "deliveries list --address new@b.example": 0,
		} {
			if out, errs, got := p.run(t, env, strings.Fields(args)...); got != code || !strings.Contains(out+errs, what) {
				t.Errorf("%s with the key %q: exit code %d, want %d and %q\n%s%s", args, key, got, code, what, out, errs)
			}
		}
	}
	for _, key := range []string{other + "," + ledgerKey, ledgerKey + "," + other} {
		env := append(slices.Clone(env), "LEDGER_KEY="+key)
		if out, errs, got := p.run(t, env, "suppressions", "add", "new@b.example", "--reason", "x"); got != 0 {
			t.Errorf("add while a key is replaced: exit code %d\n%s%s", got, out, errs)
		}
		if _, errs, got := p.run(t, env, "suppressions", "release", "new@b.example", "--reason", "x"); got != 0 {
			t.Errorf("release while a key is replaced: exit code %d, %s", got, errs)
		}
	}
}

func testSuppressionLists(t *testing.T, p binary, env []string) {
	for args, has := range map[string]string{
		"list --after x": "--after: ", "add ann@b.example --reason x --until 2020-01-01": "has passed",
		"release other@b.example --reason x": "is not suppressed", "release a@b.example --class unknown --reason x": "not both",
	} {
		if out, errs, code := p.run(t, env, append([]string{"suppressions"}, strings.Fields(args)...)...); code != 2 || out != "" || !strings.Contains(errs, has) || strings.Contains(errs, "LEDGER_DATABASE_URL") {
			t.Errorf("%s: exit code %d, %q %q", args, code, out, errs)
		}
	}
	check := func(rows int) {
		t.Helper()
		for _, columns := range []uint16{80, 120} {
			out, code := onTerminalOf(t, p.command(t, env, "suppressions", "list"), "", columns)
			if code != 0 {
				t.Errorf("%d rows, %d columns: exit code %d", rows, columns, code)
			}
			for line := range strings.Lines(out) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n > int(columns) && !strings.Contains(line, "--after") {
					t.Errorf("%d rows: a line of %d columns, at most %d: %s", rows, n, columns, line)
				}
			}
			if t.Failed() || testing.Verbose() {
				t.Logf("%d rows at %d columns:\n%s", rows, columns, out[:min(len(out), 1500)])
			}
		}
		out, errs, code := p.run(t, env, "suppressions", "list", "--json", "--limit", "1000")
		var all []struct{ ID string }
		if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || len(all) != min(rows, 1000) || strings.Contains(errs, "--after") != (rows > 1000) {
			t.Errorf("%d rows: list --json: %v, exit code %d, %d rows, %q", rows, err, code, len(all), errs)
		}
	}
	check(0)
	if out, _, code := p.run(t, env, "suppressions", "list"); code != 0 || out != "No suppression meets the conditions.\n" {
		t.Errorf("an empty list: exit code %d, %q", code, out)
	}
	out, errs, code := p.run(t, env, "suppressions", "add", "zoe@e.example", "--reason", "asked\x1b[31m by phone", "--until", "30d")
	if code != 0 || !strings.HasPrefix(out, "suppressed: z***@e.example, id ") || errs != "" {
		t.Errorf("add: exit code %d, %q, %q", code, out, errs)
	}
	check(1)
	var b strings.Builder
	b.WriteString("address,class,code,enhanced,diagnostic,expires_at\n")
	for i := range 9999 {
		fmt.Fprintf(&b, "user%d@a-domain-with-a-long-name-%d.example.com,%s,550,5.1.1,%s,2199-01-01\n", i, i%50, []string{"bad_address", "mailbox_full", "complaint"}[i%3], strings.Repeat("long words ", 20))
	}
	file := filepath.Join(t.TempDir(), "many.csv")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := p.run(t, env, "suppressions", "import", file, "--reason", "many"); code != 0 || !strings.HasPrefix(out, "imported: 9999 suppressions") {
		t.Errorf("import of many: exit code %d, %q, %q", code, out, errs)
	}
	check(10000)
	seen, after := 0, ""
	for range 20 {
		args := []string{"suppressions", "list", "--json", "--limit", "1000"}
		if after != "" {
			args = append(args, "--after", after)
		}
		out, errs, _ := p.run(t, env, args...)
		var all []struct{ ID string }
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			t.Fatal(err)
		}
		seen += len(all)
		_, after, _ = strings.Cut(strings.TrimSpace(errs), "--after ")
		if after == "" {
			break
		}
	}
	if seen != 10000 {
		t.Errorf("%d rows on all pages", seen)
	}
	if out, _, code := p.run(t, env, "suppressions", "export"); code != 0 || strings.Count(out, "\n") != 10001 {
		t.Errorf("export of many: exit code %d, %d lines", code, strings.Count(out, "\n"))
	}
	if out, _, code := p.run(t, env, "suppressions", "release", "--class", "mailbox_full", "--reason", "x", "--yes"); code != 0 || out != "released: 3333 suppressions\n" {
		t.Errorf("release of many: exit code %d, %q", code, out)
	}
}
