package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// deskServer is a Redis with dead letters.
type deskServer struct {
	*redistest.Server
	env []string
}

func newDesk(t *testing.T, more ...string) deskServer {
	t.Helper()
	server := redistest.Start(t)
	return deskServer{server, append([]string{"REDIS_URL=" + server.URL(0), "SMTP_HOST=127.0.0.1", "DB_HOST=127.0.0.1", "LEDGER_DATABASE_URL=off", "TERM=xterm", "TZ=UTC"}, more...)}
}

var deskReasons = []string{
	"recipient address refused: 550 5.1.1 at RCPT", "mail refused: 554 5.7.1 at end of data",
	"mail server did not take the mail: connection refused at DIAL", "delivery unsure: no answer from the mail server",
}

// fill puts letters of all kinds of mails into Redis, as workers of earlier versions did. Times
// have seconds only, and the first letter alone has the newest one.
func (d deskServer) fill(t *testing.T, n int) {
	t.Helper()
	names := []string{"send_otp_verification_email", "send_welcome_email", "send_booking_confirmation", "send_waitlist_notification", "shop.tasks.unknown"}
	conn := d.Conn(0)
	newest := time.Now()
	for i := range n {
		name := names[i%len(names)]
		args := fmt.Sprintf(`[%d, {"booking_id": "BK-%06d", "event_name": "%s"}]`, 1000+i, i, canary)
		if i%len(names) < 2 {
			args = fmt.Sprintf(`[{"email": "%s%d@d%d.example", "otp": "%s", "user_data": {"username": "%s"}}]`, canary, i, i%50, canary, canary)
		}
		raw, err := protocol.Encode(&protocol.Message{
			Protocol: 2, ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Task: "email_workers.tasks." + name,
			Args: protocol.Raw(args), Kwargs: protocol.Raw(`{}`), DeliveryTag: fmt.Sprint("tag", i), RoutingKey: "email_notifications",
		})
		if err != nil {
			t.Fatal(err)
		}
		id, at := letterID(i), newest.Add(-time.Duration(i)*20*time.Millisecond).Unix()-int64(min(i, 1))
		meta := fmt.Sprintf(`{"queue": "email_notifications", "reason": %q, "at": "%d.5"}`, deskReasons[i%len(deskReasons)], at)
		for _, send := range [][]any{{"HSET", "_goworker.1.dead", id, raw}, {"HSET", "_goworker.1.dead.meta", id, meta}, {"ZADD", "_goworker.1.dead.index", at, id}} {
			if err := conn.Send(send[0].(string), send[1:]...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := conn.Do("PING"); err != nil {
		t.Fatal(err)
	}
}

// letterID is the id of a filled letter. Its first eight characters are its own.
func letterID(i int) string { return fmt.Sprintf("%08x%024x", uint32(i*2654435761), i) }

func (d deskServer) queued(t *testing.T) int {
	t.Helper()
	n, err := d.Conn(0).Do("LLEN", "email_notifications")
	if err != nil {
		t.Fatal(err)
	}
	return int(n.(int64))
}

// onColumns runs a command on a terminal and holds its lines to the width.
func onColumns(t *testing.T, cmd *exec.Cmd, columns int) (out string, took time.Duration) {
	t.Helper()
	began := time.Now()
	out, code := onTerminalOf(t, cmd, "", uint16(columns))
	took = time.Since(began)
	if code != 0 || strings.Contains(out, canary) {
		t.Errorf("%v: exit code %d, or a value is shown:\n%s", cmd.Args[1:], code, out)
	}
	for line := range strings.Lines(regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(out, "")) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n > columns {
			t.Errorf("%v: %d columns on a terminal of %d: %s", cmd.Args[1:], n, columns, line)
		}
	}
	return out, took
}

// testDesk looks at the commands with no letter, one, and 10,000, on terminals of 80 and of 120
// columns.
func testDesk(t *testing.T, p binary) {
	d := newDesk(t)
	for _, n := range []int{0, 1, 10_000} {
		d.fill(t, n)
		all := [][]string{{"causes"}, {"list"}}
		if n == 1 {
			all = append(all, []string{"causes", "--by-domain"}, []string{"list", "--state", "all", "--reason", "550 5.1.1"}, []string{"retry", "--all", "--dry-run"}, []string{"show", letterID(0)})
		}
		for _, columns := range []int{80, 120} {
			for _, args := range all {
				out, took := onColumns(t, p.command(t, d.env, append([]string{"dead-letters"}, args...)...), columns)
				t.Logf("%d letters, %d columns, %q: %v", n, columns, args, took)
				if want := map[bool]string{true: "dead letter", false: letterID(0)[:8]}[n == 0 || args[0] == "retry"]; !strings.Contains(out, want) {
					t.Errorf("%d letters, %q has no %q:\n%s", n, args, want, out)
				}
			}
		}
	}
	var causes []struct {
		Cause, Kind, Example, Advice string
		Count                        int
	}
	out, _, code := p.run(t, d.env, "dead-letters", "causes", "--kind", "welcome", "--json")
	if err := json.Unmarshal([]byte(out), &causes); err != nil || code != 0 || len(causes) != 4 || causes[0].Count != 500 || causes[0].Kind != "welcome" || causes[0].Advice == "" {
		t.Errorf("causes --json: exit code %d, %v\n%s", code, err, out)
	}
}

// testBulk works off 1,000 letters: by cause, with a stop, and all.
func testBulk(t *testing.T, p binary) {
	d := newDesk(t)
	d.fill(t, 1000)
	for _, test := range []struct {
		args string
		out  string // the end of stdout
		code int
	}{
		{"retry --reason 550", "", 2}, // no terminal, and no --yes
		{"retry --reason 550 --dry-run", "250 dead letters, nothing was done\n", 0},
		{"retry --kind nothing --yes", "back in their queues: 0\n", 0},
		{"resolve --domain d0.example,d1.example --since 1h --yes --note checked", "dealt with: 40\n", 0},
		{"reopen --domain d0.example --yes", "open again: 20\n", 0},
		{"reopen --domain d0.example --yes", "open again: 0\n", 0},
		{"reopen --all --yes", "open again: 20\n", 0},
		{"delete --task shop.tasks.unknown --yes", "deleted: 200\n", 0},
		{"retry --kind booking_confirmation --yes", "back in their queues: 200\n", 0},
		{"retry --kind booking_confirmation --yes", "back in their queues: 0\n", 0},
		{"retry " + letterID(2), "back in their queues: 0\n", 1}, // it is a message again
		{"delete --all --state retried --yes", "deleted: 200\n", 0},
	} {
		began := time.Now()
		out, errs, code := p.run(t, d.env, append([]string{"dead-letters"}, strings.Fields(test.args)...)...)
		t.Logf("%s: %v", test.args, time.Since(began))
		if code != test.code || !strings.HasSuffix(out, test.out) {
			t.Errorf("%s: exit code %d, %q\n%s", test.args, code, errs, out)
		}
	}
	if n := d.queued(t); n != 200 {
		t.Errorf("%d messages in the queue, want 200", n)
	}
	testStoppedBulk(t, p, d)
	out, errs, code := p.run(t, d.env, "dead-letters", "retry", "--all", "--yes", "--json")
	var outcomes []struct {
		ID   string
		Done bool
	}
	if err := json.Unmarshal([]byte(out), &outcomes); err != nil || code != 0 || d.queued(t) != 800 {
		t.Errorf("retry --all --json: exit code %d, %v, %q; %d messages in the queue", code, err, errs, d.queued(t))
	}
}

// testStoppedBulk stops a command in the middle by Ctrl-C, on a terminal, and by a signal without
// one. It says how many it did.
func testStoppedBulk(t *testing.T, p binary, d deskServer) {
	said := regexp.MustCompile(`back in their queues: (\d+)`)
	for _, terminal := range []bool{true, false} {
		before := d.queued(t)
		ctx, interrupt := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, string(p), "dead-letters", "retry", "--kind", "welcome", "--yes", "--rate", "10/s")
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
		cmd.Env = append(slices.Clone(d.env), testkit.RaceOptions)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for end := time.Now().Add(time.Minute); time.Now().Before(end) && d.queued(t) < before+20; time.Sleep(10 * time.Millisecond) {
			}
			interrupt()
		}()
		var out string
		var code int
		if terminal {
			out, code = onTerminal(t, cmd, "")
		} else {
			both, _ := cmd.CombinedOutput()
			out, code = string(both), cmd.ProcessState.ExitCode()
		}
		<-stopped
		done := d.queued(t) - before
		match := said.FindStringSubmatch(out)
		if code != 1 || match == nil || match[1] != fmt.Sprint(done) || !strings.Contains(out, "run the same command to go on") || done > 190 {
			t.Errorf("terminal %t: exit code %d, %d are done:\n%s", terminal, code, done, out)
		}
		if trail, _, code := p.run(t, d.env, "audit", "list", "--json", "--limit", "1"); code != 0 || !strings.Contains(trail, fmt.Sprintf("stopped after the first %d of ", done)) {
			t.Errorf("terminal %t: %d letters are done, and the audit trail says:\n%s", terminal, done, trail)
		}
		if strings.Contains(out, "\x1b[K") != terminal {
			t.Errorf("terminal %t: a bar is where it should not be, or not where it should:\n%q", terminal, out)
		}
	}
}

// testEditedLetters corrects letters by flags, by a form and in an editor.
func testEditedLetters(t *testing.T, p binary) {
	d := newDesk(t)
	d.fill(t, 10)
	booking, welcome, unknown := letterID(2), letterID(1), letterID(4)
	edit := func(args ...string) (string, string, int) {
		t.Helper()
		return p.run(t, d.env, append([]string{"dead-letters", "edit"}, args...)...)
	}
	for _, test := range []struct {
		args []string
		errs []string
	}{
		{[]string{booking, "--set", "user_id=" + "twelve", "--set", "quantity=two", "--set", "colour=red"},
			[]string{"user_id: must be a number such as 12", "quantity: must be a number such as 2", "colour: is not a field of send_booking_confirmation; its fields are user_id, event_name,", "nothing was sent"}},
		{[]string{booking, "--set", "user_id"}, []string{"write FIELD=VALUE"}},
		{[]string{booking}, []string{"--set FIELD=VALUE or --file"}},
		{[]string{booking, "--set", "a=b", "--file", "-"}, []string{"either --set or --file"}},
		{[]string{booking, "--reveal"}, []string{"DEAD_LETTER_KEY"}},
		{[]string{welcome, "--set", "email=ada"}, []string{"email: must be an address such as "}},
		{[]string{unknown, "--set", "a=b"}, []string{"edit knows send_otp_verification_email, send_welcome_email"}},
		{[]string{booking, "--file", filepath.Join(t.TempDir(), "none")}, []string{"--file: "}},
	} {
		_, errs, code := edit(test.args...)
		for _, want := range test.errs {
			if code == 0 || !strings.Contains(errs, want) {
				t.Errorf("edit %q: exit code %d, want %q:\n%s", test.args, code, want, errs)
			}
		}
	}
	if n := d.queued(t); n != 0 {
		t.Fatalf("%d messages in the queue after wrong edits", n)
	}
	out, errs, code := edit(booking, "--set", "user_id=12", "--set", "booking_id=BK-7", "--note", "wrong user", "--json")
	var edited []struct {
		ID      string
		TaskID  string `json:"task_id"`
		Changed []string
	}
	if err := json.Unmarshal([]byte(out), &edited); err != nil || code != 0 || len(edited) != 1 || !slices.Equal(edited[0].Changed, []string{"user_id", "booking_id"}) {
		t.Fatalf("edit --json: exit code %d, %v, %q\n%s", code, err, errs, out)
	}
	copied := d.newest(t)
	if copied.ID != edited[0].TaskID || copied.ID == "00000000-0000-4000-8000-000000000002" || string(copied.Args) != `[12, {"event_name": "`+canary+`", "booking_id": "BK-7"}]` {
		t.Errorf("the copy is %s %s", copied.ID, copied.Args)
	}
	if _, errs, code := edit(booking, "--set", "user_id=13"); code != 1 || !strings.Contains(errs, "replaced") || d.queued(t) != 1 {
		t.Errorf("a second edit: exit code %d, %q", code, errs)
	}
	if out, _, _ := p.run(t, d.env, "dead-letters", "show", booking); !strings.Contains(out, "replaced by "+copied.ID) || !strings.Contains(out, "wrong user") {
		t.Errorf("show of the old one:\n%s", out)
	}
	form := filepath.Join(t.TempDir(), "form.json")
	if err := os.WriteFile(form, []byte("// a comment\n"+`{"task_data": {"email": "ada@example.com", "user_data": {"username": "(unchanged)"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := edit(welcome, "--file", form); code != 0 || !strings.Contains(string(d.newest(t).Args), `"email": "ada@example.com"`) || !strings.Contains(string(d.newest(t).Args), canary) {
		t.Errorf("edit --file: exit code %d, %q, %q", code, out, errs)
	}
	testEditor(t, p, d, letterID(7), letterID(3))
	// Values are shown with the key and --reveal only. Method run would object to one.
	env := append(slices.Clone(d.env), "DEAD_LETTER_KEY=0123456789abcdef")
	if out, errs, code := p.run(t, env, "dead-letters", "show", letterID(8)); code != 0 || strings.Contains(out, "Jazz") {
		t.Errorf("show without --reveal: exit code %d, %q, %q", code, out, errs)
	}
	for _, form := range []string{"--reveal", "--reveal --json"} {
		out, err := p.command(t, env, append([]string{"dead-letters", "show", letterID(8)}, strings.Fields(form)...)...).Output()
		if err != nil || !strings.Contains(string(out), canary) {
			t.Errorf("show %s: %v\n%s", form, err, out)
		}
	}
	if _, errs, code := p.run(t, d.env, "dead-letters", "show", "--reveal", letterID(8)); code != 2 || !strings.Contains(errs, "DEAD_LETTER_KEY") {
		t.Errorf("show --reveal without a key: exit code %d, %q", code, errs)
	}
	if out, _, code := p.run(t, d.env, "audit", "list", "--json"); code != 0 || !strings.Contains(out, "dead-letters.reveal") || !strings.Contains(out, "dead-letters.edit") || !strings.Contains(out, "wrong user") {
		t.Errorf("audit list: exit code %d\n%s", code, out)
	}
}

// newest returns the newest message of the queue.
func (d deskServer) newest(t *testing.T) *protocol.Message {
	t.Helper()
	raw, err := d.Conn(0).Do("LINDEX", "email_notifications", 0)
	if err != nil || raw == nil {
		t.Fatalf("no message in the queue: %v", err)
	}
	m, err := protocol.Decode(raw.([]byte), protocol.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// testEditor has an editor that makes a mistake first, and one that empties the form.
func testEditor(t *testing.T, p binary, d deskServer, booking, other string) {
	seen, editor := filepath.Join(t.TempDir(), "seen"), filepath.Join(t.TempDir(), "editor")
	script := "#!/bin/sh\ncat \"$1\" >> " + seen + "\n" +
		"if grep -q 'user_id: must be' \"$1\"; then sed -i 's/\"user_id\": \"x\"/\"user_id\": 77/' \"$1\"; else sed -i 's/\"user_id\": \"(unchanged)\"/\"user_id\": \"x\"/' \"$1\"; fi\n"
	if err := os.WriteFile(editor, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	env := append(slices.Clone(d.env), "EDITOR="+editor)
	out, code := onTerminal(t, p.command(t, env, "dead-letters", "edit", booking), "")
	text, err := os.ReadFile(seen)
	if err != nil || code != 0 || !strings.HasPrefix(string(d.newest(t).Args), "[77, ") || bytes.Contains(text, []byte(canary)) || !bytes.Contains(text, []byte("(unchanged)")) {
		t.Errorf("edit in an editor: exit code %d, %v\n%s\n%s", code, err, out, text)
	}
	before := d.queued(t)
	env = append(slices.Clone(d.env), "VISUAL=truncate -s 0")
	if out, code := onTerminal(t, p.command(t, env, "dead-letters", "edit", other), ""); code != 1 || !strings.Contains(out, "nothing was done") || d.queued(t) != before {
		t.Errorf("an emptied form: exit code %d, %s", code, out)
	}
}
