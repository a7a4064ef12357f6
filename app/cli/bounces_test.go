package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/verp"
	"github.com/evently/workers/store/ledger"
)

const bounceKey = "0123456789abcdef"

// returned is the bounce of a mail to an address that does not exist.
const returned = `From: MAILER-DAEMON@relay.example.com
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example.com

Final-Recipient: rfc822; ada@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 <ada@example.com>: Recipient address rejected: User unknown

--b1--
`

// ingest runs "bounces ingest" with a message.
func (p binary) ingest(t *testing.T, env []string, message string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := p.command(t, env, append([]string{"bounces", "ingest"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(message), &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// testBounces takes bounces in as a mail server does, and looks at them.
func testBounces(t *testing.T, p binary) {
	path := filepath.Join(t.TempDir(), "history.db")
	fillHistory(t, path, lives())
	env := historyEnv(t, path, "BOUNCE_DOMAIN=bounces.example.com", "BOUNCE_KEY="+bounceKey, "LEDGER_KEY="+ledgerKey, "WEBHOOK_KEY="+bounceKey)
	tagger, err := verp.New("bounces.example.com", bounceKey)
	if err != nil {
		t.Fatal(err)
	}
	const task = "8f14e45f-ceea-467f-a1de-d1f1e1d3b6c0"
	to, _ := tagger.Address(mail.Reference("fingerprint of " + task))
	unknown, _ := tagger.Address(mail.Reference("no such mail"))
	out, _, code := p.run(t, env, "bounces", "list")
	if code != 0 || !strings.Contains(out, "No bounce") {
		t.Errorf("an empty list: exit code %d\n%s", code, out)
	}
	for i, c := range []struct{ message, recipient, says string }{
		{returned, to, "stored: bounce "},
		{returned, to, "ignored: bounce "},
		{returned, strings.Replace(to, "-", "-a", 1), "nothing follows from it"},
		{returned, unknown, "of no known mail"},
		{"Subject: You won\n\nClick!\n", "", "ignored: the message is no bounce"},
		{"", "", "ignored: the message is no bounce"},
		{strings.Replace(returned, "Subject: Und", "X-More: "+strings.Repeat(strings.Repeat("x", 70)+"\n ", 8000)+"\nSubject: Und", 1), to, "stored"},
	} {
		if out, errs, code := p.ingest(t, env, c.message, "--recipient", c.recipient); code != 0 || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("message %d: exit code %d, %q %q, want %q", i, code, out, errs, c.says)
		}
	}
	out, _, code = p.run(t, env, "was-it-sent", task)
	if code != 1 || !strings.HasPrefix(out, "No. ") || !strings.Contains(out, "but it came back at ") || !strings.Contains(out, "mx.example.com said 550 5.1.1 “<***@example.com>: Recipient address rejected: User unknown”") {
		t.Errorf("was-it-sent: exit code %d\n%s", code, out)
	}
	out, _, _ = p.run(t, env, "deliveries", "show", task)
	if !strings.Contains(out, "bounced: returned, see bounce ") || !strings.Contains(out, "server mx.example.com") {
		t.Errorf("deliveries show:\n%s", out)
	}
	noLongLines(t, "deliveries show", out)
	testBounceList(t, p, env, task)
	testIngestFails(t, p, env, to)

	if out, errs, code := p.run(t, env, "bounces", "webhook-url", "ses"); code != 0 || !strings.HasPrefix(out, "/webhooks/bounces/ses?token=") || errs != "" {
		t.Errorf("webhook-url: exit code %d, %q %q", code, out, errs)
	}
	if _, errs, code := p.run(t, env, "bounces", "webhook-url", "aol"); code != 2 || !strings.Contains(errs, "brevo, generic, mailgun") {
		t.Errorf("webhook-url of an unknown source: exit code %d, %q", code, errs)
	}
}

func testBounceList(t *testing.T, p binary, env []string, task string) {
	list := func(args ...string) (all []ledger.Bounce) {
		t.Helper()
		out, errs, code := p.run(t, env, append([]string{"bounces", "list", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || all == nil {
			t.Errorf("%q: exit code %d, %v, %q\n%s", args, code, err, errs, out)
		}
		return all
	}
	for args, n := range map[string]int{"": 4, "--unmatched": 2, "--kind failed": 3, "--kind complaint": 0, "--class bad_address --address Ada@example.com": 2, "--since 1m --until 0s": 4, "--limit 1": 1} {
		if all := list(strings.Fields(args)...); len(all) != n {
			t.Errorf("%q: %d bounces, want %d: %+v", args, len(all), n, all)
		}
	}
	// One of them waits for its mail.
	all := slices.DeleteFunc(list("--address", "ada@example.com", "--class", "bad_address"), func(b ledger.Bounce) bool { return b.TaskID == "" })
	if len(all) != 1 || all[0].TaskID != task || all[0].MatchedBy != ledger.MatchTag || !all[0].Proven {
		t.Fatalf("bounces of the address: %+v", all)
	}
	out, _, code := p.run(t, env, "bounces", "show", all[0].ID[:10])
	for _, has := range []string{all[0].ID, "failed, bad_address", "by the tag", task, "a***@example.com", "550 5.1.1 “<***@example.com>", "mx.example.com", "yes: it may suppress"} {
		if code != 0 || !strings.Contains(out, has) {
			t.Errorf("show lacks %q, exit code %d:\n%s", has, code, out)
		}
	}
	noLongLines(t, "bounces show", out)
	if _, errs, code := p.run(t, env, "bounces", "show", "ffffffffffff"); code != 1 || !strings.Contains(errs, "no bounce") {
		t.Errorf("show of an unknown one: exit code %d, %q", code, errs)
	}
	for _, columns := range []uint16{80, 120} {
		out, code := onTerminalOf(t, p.command(t, env, "bounces", "list"), "", columns)
		if code != 0 || !strings.Contains(out, "a***@example.com") || !strings.Contains(out, "?@example.com") || !strings.Contains(out, task+"  550 5.1.1 “") {
			t.Errorf("list on %d columns: exit code %d\n%s", columns, code, out)
		}
		for line := range strings.Lines(out) {
			if n := len([]rune(strings.TrimRight(line, "\r\n"))); n > int(columns) {
				t.Errorf("a line of %d columns on %d: %s", n, columns, line)
			}
		}
	}
}

// testIngestFails keeps the message with the mail server after every fault.
func testIngestFails(t *testing.T, p binary, env []string, to string) {
	for name, change := range map[string]string{
		"no tables":           "LEDGER_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "none.db"),
		"no history":          "LEDGER_DATABASE_URL=off",
		"no server":           "LEDGER_DATABASE_URL=postgres://mailer:secret@127.0.0.1:1/none",
		"wrong configuration": "BOUNCE_KEY=short",
	} {
		out, errs, code := p.ingest(t, append(append([]string{}, env...), change), returned, "--recipient", to)
		if code != 75 || out != "" || !strings.Contains(errs, "not stored, try again: ") || strings.Contains(errs, "secret") {
			t.Errorf("%s: exit code %d, %q %q", name, code, out, errs)
		}
	}
	for _, wrong := range []string{"--recipent=" + to, to} {
		if out, errs, code := p.ingest(t, env, returned, wrong); code != 75 || out != "" || !strings.Contains(errs, "ingest --help") {
			t.Errorf("wrong usage: exit code %d, %q %q", code, out, errs)
		}
	}
	if out, errs, code := p.ingest(t, env, returned, "--json"); code != 0 || !strings.Contains(out, `"stored": true`) {
		t.Errorf("--json: exit code %d, %s", code, fmt.Sprint(out, errs))
	}
}
