package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
)

// ledgerKey is a key of addresses.
const ledgerKey = "0123456789abcdef-" + canary

// stream is an outbox in memory.
type stream struct {
	mu      sync.Mutex
	entries []broker.Recorded
}

func (s *stream) add(at time.Time, fields []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, broker.Recorded{ID: fmt.Sprintf("%d-0", at.UnixMilli()), At: at, Fields: fields})
}

// Oldest implements [broker.Outbox].
func (s *stream) Oldest(_ context.Context, _ string, max int) ([]broker.Recorded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries[:min(max, len(s.entries))]), nil
}

// Remove implements [broker.Outbox].
func (s *stream) Remove(_ context.Context, _ string, ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(r broker.Recorded) bool { return slices.Contains(ids, r.ID) })
	return nil
}

// Backlog implements [broker.Outbox].
func (s *stream) Backlog(context.Context, string) (broker.Backlog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return broker.Backlog{Length: len(s.entries)}, nil
}

// life is a mail of the history of the tests.
type life struct {
	task, kind, to, booking string
	user                    int64
	ago                     time.Duration
	events                  []ledger.Event
}

// lives are mails of all states. Each event has the time since the first claim in At.
func lives() []life {
	const host, tls = "smtp.example.com:587", "TLS 1.3 TLS_AES_128_GCM_SHA256"
	after := func(d time.Duration) time.Time { return time.Time{}.Add(d) }
	phases := []ledger.Phase{{Name: "connect", Took: 38 * time.Millisecond}, {Name: "mail", Took: 2 * time.Millisecond}, {Name: "rcpt", Took: 11 * time.Millisecond},
		{Name: "data", Took: 4 * time.Millisecond}, {Name: "guard", Took: time.Millisecond}, {Name: "final", Took: 140 * time.Millisecond}}
	sending := ledger.Event{State: ledger.Sending, At: after(60 * time.Millisecond), Attempt: 1}
	accepted := ledger.Event{State: ledger.Accepted, At: after(200 * time.Millisecond), Attempt: 1, Stage: ".", Text: "2.0.0 Ok: queued as 4RfZ2k1Xyz", QueueID: "4RfZ2k1Xyz",
		Endpoint: host, TLS: tls, MessageID: "<1764437582.8f14e45f@evently.com>", Phases: phases}
	deferred := ledger.Event{State: ledger.Deferred, At: after(80 * time.Millisecond), Attempt: 1, Reason: "mail server did not take the mail: RCPT 450 4.2.1", Stage: "RCPT", Code: 450, Enhanced: "4.2.1",
		Class: "temporary", Text: "The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.", Endpoint: host, TLS: tls, Phases: phases[:3]}
	late := accepted
	late.At, late.Attempt = after(61*time.Second), 2
	return []life{
		{"8f14e45f-ceea-467f-a1de-d1f1e1d3b6c0", "otp", "ada@example.com", "", 0, time.Hour, []ledger.Event{sending, accepted}},
		{"task-deferred", "booking_confirmation", "grace@example.org", "B-17", 42, 30 * time.Second, []ledger.Event{with(deferred, func(e *ledger.Event) { e.NextAt = after(10 * time.Minute) })}},
		{"task-stuck", "welcome", "grace@example.org", "", 42, 3 * time.Hour, []ledger.Event{with(deferred, func(e *ledger.Event) { e.NextAt = after(time.Minute) })}},
		{"task-twice", "booking_reminder", "late@example.net", "B-18", 43, 2 * time.Hour, []ledger.Event{with(deferred, func(e *ledger.Event) { e.NextAt = after(time.Minute) }), with(sending, func(e *ledger.Event) { e.At = after(60 * time.Second) }), late}},
		{"task-rejected", "welcome", "nobody@example.com", "", 44, 4 * time.Hour, []ledger.Event{{State: ledger.Rejected, At: after(90 * time.Millisecond), Attempt: 1, Reason: "recipient address refused: RCPT 550 5.1.1",
			Stage: "RCPT", Code: 550, Enhanced: "5.1.1", Class: "address", Text: "5.1.1 No such user here", Endpoint: host, TLS: tls}}},
		{"task-unknown", "booking_cancellation", "maybe@example.com", "B-19", 45, 5 * time.Hour, []ledger.Event{sending, {State: ledger.Unknown, At: after(2 * time.Minute), Attempt: 1,
			Reason: "delivery unsure: no answer from the mail server", Stage: ".", Class: "unknown", Endpoint: host, TLS: tls}}},
		{"task-again", "otp", "again@example.com", "", 0, 20 * time.Second, []ledger.Event{sending, {State: ledger.Unknown, At: after(2 * time.Second), Attempt: 1, NextAt: after(time.Minute),
			Reason: "delivery unsure: no answer from the mail server", Stage: ".", Class: "unknown", Endpoint: host, TLS: tls}}},
		{"task-dead", "welcome", "dead@example.com", "", 46, 6 * time.Hour, []ledger.Event{with(deferred, nil), {State: ledger.Dead, At: after(8 * time.Minute), Attempt: 4,
			Reason: "mail server did not take the mail: RCPT 450 4.2.1", Stage: "RCPT", Code: 450, Enhanced: "4.2.1", Class: "temporary", Endpoint: host}}},
		{"task-expired", "otp", "slow@example.com", "", 0, 7 * time.Hour, []ledger.Event{{State: ledger.Expired, At: after(11 * time.Minute), Attempt: 1, Reason: "expired"}}},
		{"task-queued", "welcome", "limit@example.com", "", 47, 40 * time.Second, []ledger.Event{{State: ledger.Queued, At: after(time.Second), Attempt: 1, Reason: "limit of the domain: 10 mails a minute", Stage: "limit", NextAt: after(5 * time.Minute)}}},
		{"task-sending", "welcome", "now@example.com", "", 48, time.Second, []ledger.Event{sending}},
		{"task-crashed", "welcome", "crash@example.com", "", 49, 8 * time.Hour, []ledger.Event{sending}},
		{"task-bounced", "event_update", "gone@example.com", "E-7", 50, 9 * time.Hour, []ledger.Event{sending, accepted, {State: ledger.Bounced, At: after(time.Hour), Class: "address", Code: 550, Enhanced: "5.1.1", Text: "user unknown", Endpoint: "mx.example.com:25"}}},
		{"task-complained", "welcome", "angry@example.com", "", 51, 10 * time.Hour, []ledger.Event{sending, accepted, {State: ledger.Complained, At: after(time.Hour)}}},
		{"task-suppressed", "welcome", "never@example.com", "", 52, 11 * time.Hour, []ledger.Event{{State: ledger.Suppressed, At: after(time.Millisecond), Reason: "the address returned the mails before"}}},
	}
}

func with(e ledger.Event, change func(*ledger.Event)) ledger.Event {
	if change != nil {
		change(&e)
	}
	return e
}

// fillHistory makes a history of the lives in a file.
func fillHistory(t *testing.T, path string, all []life) {
	t.Helper()
	sealer, err := ledger.NewSealer(ledger.SealerConfig{Key: ledgerKey, Mask: mail.MaskAddress})
	if err != nil {
		t.Fatal(err)
	}
	db, err := ledger.OpenSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := new(stream)
	now := time.Now()
	for _, l := range all {
		first := now.Add(-l.ago)
		move := func(at time.Time) time.Time {
			if at.IsZero() {
				return at
			}
			return first.Add(at.Sub(time.Time{}))
		}
		for _, e := range l.events {
			e.Mail, e.TaskID, e.Kind, e.Address, e.UserID, e.Booking = "fingerprint of "+l.task, l.task, l.kind, l.to, l.user, l.booking
			e.Worker, e.FirstSeen, e.At, e.NextAt = "email-worker@host", first, move(e.At), move(e.NextAt)
			s.add(e.At, ledger.Encode(e, sealer))
		}
	}
	w, err := ledger.NewWriter(ledger.WriterConfig{DB: db, Outbox: s, Sealer: sealer, Reference: mail.Reference, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if b, _ := s.Backlog(ctx, ""); b.Length == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the history is not written: %+v", w.Status())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// historyEnv is an environment with a history in a file and without Redis.
func historyEnv(t *testing.T, path string, more ...string) []string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return append([]string{"LEDGER_DATABASE_URL=sqlite:" + path, "REDIS_URL=redis://" + l.Addr().String(), "TZ=UTC"}, more...)
}

// testWasItSent asks for a mail of each state.
func testWasItSent(t *testing.T, p binary, path string) {
	env := historyEnv(t, path, "LEDGER_KEY="+ledgerKey)
	for _, test := range []struct {
		of, has string
		code    int
	}{
		{"8f14e45f-ceea-467f-a1de-d1f1e1d3b6c0", "Yes. The mail server smtp.example.com:587 accepted the otp mail to a***@example.com at ", 0},
		{"ada@example.com", "with the queue id 4RfZ2k1Xyz.", 0},
		{" Ada@EXAMPLE.com ", "Yes. ", 0},
		{"B-17", "Not yet. Attempt 1 to send the booking confirmation mail", 1},
		{"42", "“The user you are trying to contact", 1},
		{"task-stuck", "does a worker run?", 1},
		{"43", "Yes. ", 0},
		{"task-rejected", "No. ", 1},
		{"B-19", "Not known. The mail server smtp.example.com:587 got all of the booking cancellation mail", 3},
		{"again@example.com", "It is sent once more under the same Message-ID.", 3},
		{"46", "No. ", 1},
		{"slow@example.com", "too late to be of use: expired.", 1},
		{"limit@example.com", "waits: limit of the domain", 1},
		{"task-crashed", "no outcome followed.", 3},
		{"E-7", "but it came back at ", 1},
		{"51", "Yes. ", 0},
		{"never@example.com", "the address is suppressed", 1},
		{"unheard@example.com", `Not known: the history has no mail of "unheard@example.com". It begins at `, 3},
		{"999", "The task may still wait in the queue.", 3},
	} {
		out, errs, code := p.run(t, env, "was-it-sent", test.of)
		first, rest, _ := strings.Cut(out, "\n")
		if code != test.code || errs != "" || !strings.Contains(first, test.has) {
			t.Errorf("was-it-sent %s: exit code %d, %q\n%s\nwant %d and %q", test.of, code, errs, out, test.code, test.has)
		}
		noLongLines(t, test.of, rest)
	}
	out, _, code := p.run(t, env, "was-it-sent", "--json", "--show-addresses", "grace@example.org")
	var answer struct {
		Sent, Verdict string
		Mails         []struct {
			TaskID  string `json:"task_id"`
			Address string `json:"address"`
		}
		Events []struct{ State string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 1 || answer.Sent != "not yet" || len(answer.Mails) != 2 ||
		answer.Mails[0].TaskID != "task-deferred" || answer.Mails[0].Address != "grace@example.org" || len(answer.Events) != 1 {
		t.Errorf("was-it-sent --json: exit code %d, %v\n%s", code, err, out)
	}
}

func noLongLines(t *testing.T, what, out string) {
	t.Helper()
	for text := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(text, "\n")); n > 80 {
			t.Errorf("%s: a line of %d columns: %s", what, n, text)
		}
	}
}

// testDeliveries lists, shows, counts and erases.
func testDeliveries(t *testing.T, p binary) {
	path := filepath.Join(t.TempDir(), "history.db")
	fillHistory(t, path, lives())
	testWasItSent(t, p, path)
	env := historyEnv(t, path)
	type item struct {
		TaskID  string `json:"task_id"`
		State   string `json:"state"`
		Address string `json:"address"`
		Events  []any  `json:"events"`
	}
	list := func(env []string, args ...string) (all []item) {
		t.Helper()
		out, errs, code := p.run(t, env, append([]string{"deliveries"}, args...)...)
		if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || errs != "" || all == nil {
			t.Errorf("%q: exit code %d, %v, %q\n%s", args, code, err, errs, out)
		}
		return all
	}
	keyed := append(slices.Clone(env), "LEDGER_KEY="+ledgerKey)
	for _, test := range []struct {
		args  string
		tasks string // the first one, and how many
	}{
		{"--limit 50", "task-sending 15"},
		{"--state rejected,dead", "task-rejected 2"},
		{"--state rejected --state dead", "task-rejected 2"},
		{"--kind otp", "task-again 3"},
		{"--user 42", "task-deferred 2"},
		{"--booking B-18", "task-twice 1"},
		{"--domain EXAMPLE.org", "task-deferred 2"},
		{"--since 50m", "task-sending 4"},
		{"--until 570m", "task-complained 2"},
		{"--since 9.5h --until 8.5h", "task-bounced 1"},
		{"--kind nothing", " 0"},
	} {
		found := list(env, append([]string{"list", "--json"}, strings.Fields(test.args)...)...)
		got := ""
		if len(found) > 0 {
			got = found[0].TaskID
		}
		if got = fmt.Sprintf("%s %d", got, len(found)); got != test.tasks {
			t.Errorf("list %s: %s, want %s", test.args, got, test.tasks)
		}
	}
	if found := list(keyed, "list", "--json", "--address", "GRACE@example.org"); len(found) != 2 || found[0].Address != "" {
		t.Errorf("by address: %+v", found)
	}
	if found := list(keyed, "list", "--json", "--show-addresses", "--user", "42"); len(found) != 2 || found[1].Address != "grace@example.org" {
		t.Errorf("with addresses: %+v", found)
	}
	if found := list(keyed, "show", "--json", "task-twice"); len(found) != 1 || len(found[0].Events) != 3 || found[0].Address != "" {
		t.Errorf("show: %+v", found)
	}
	if _, errs, code := p.run(t, env, "deliveries", "list", "--show-addresses"); code != 2 || !strings.Contains(errs, "LEDGER_KEY") {
		t.Errorf("addresses without a key: exit code %d, %q", code, errs)
	}
	out, errs, code := p.run(t, env, "deliveries", "list", "--limit", "2")
	if code != 0 || !strings.Contains(errs, "--after ") || !strings.Contains(out, "task-sending") {
		t.Errorf("a list that goes on: exit code %d, %q, %q", code, errs, out)
	}
	_, after, _ := strings.Cut(strings.TrimSpace(errs), "--after ")
	if found := list(env, "list", "--json", "--after", after); len(found) != 13 || found[0].TaskID != "task-deferred" {
		t.Errorf("the rest of the list: %+v", found)
	}
	if out, _, code := p.run(t, env, "deliveries", "show", "task-twice"); code != 0 || !strings.Contains(out, "attempt 2") || !strings.Contains(strings.Join(strings.Fields(out), " "), "final 140 ms") {
		t.Errorf("show: exit code %d\n%s", code, out)
	} else {
		noLongLines(t, "show", out)
	}
	if out, _, code := p.run(t, env, "deliveries", "stats", "--since", "2d"); code != 0 || !strings.Contains(out, "booking_confirmation") || !strings.Contains(out, "temporary") {
		t.Errorf("stats: exit code %d\n%s", code, out)
	} else {
		noLongLines(t, "stats", out)
	}
	if _, errs, code := p.run(t, env, "deliveries", "erase", "--user", "42"); code != 2 || !strings.Contains(errs, "--yes") {
		t.Errorf("erase without a terminal: exit code %d, %q", code, errs)
	}
	if out, errs, code := p.run(t, env, "deliveries", "erase", "--user", "42", "--yes"); code != 0 || out != "erased: 2 mails\n" || errs != "" {
		t.Errorf("erase: exit code %d, %q, %q", code, out, errs)
	}
	if found := list(keyed, "list", "--json", "--address", "grace@example.org"); len(found) != 0 {
		t.Errorf("mails of an erased address: %+v", found)
	}
	if out, errs, code := p.run(t, env, "ledger", "status"); code != 0 || !strings.Contains(out, "since 2") || errs != "" {
		t.Errorf("ledger status: exit code %d, %q, %q", code, out, errs)
	}
}

// testNoHistory asks where there is none, or no answer.
func testNoHistory(t *testing.T, p binary) {
	missing := historyEnv(t, filepath.Join(t.TempDir(), "none.db"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for name, test := range map[string]struct {
		env []string
		has string
	}{
		"off":         {[]string{"LEDGER_DATABASE_URL=off"}, "LEDGER_DATABASE_URL is off"},
		"no file":     {missing, "a worker makes it at its start"},
		"no database": {[]string{"DATABASE_URL=postgres://u:" + canary + "@" + closed + "/n?sslmode=disable"}, "check LEDGER_DATABASE_URL, or DATABASE_URL"},
	} {
		for _, args := range [][]string{{"deliveries", "list"}, {"deliveries", "show", "x"}, {"deliveries", "stats"}, {"deliveries", "erase", "--user", "1", "--yes"}, {"was-it-sent", "x"}} {
			want := 1
			if args[0] == "was-it-sent" {
				want = 3
			}
			out, errs, code := p.run(t, append(test.env, "REDIS_URL=redis://"+closed), args...)
			if code != want || out != "" || !strings.Contains(errs, test.has) {
				t.Errorf("%s: %q: exit code %d, %q, %q; want %d and %q", name, args, code, out, errs, want, test.has)
			}
		}
	}
	if out, errs, code := p.run(t, nil, "ledger", "migrations", "--sql"); code != 0 || errs != "" || !strings.Contains(out, "CREATE SCHEMA IF NOT EXISTS evently_mail") {
		t.Errorf("ledger migrations --sql: exit code %d, %q, %q", code, out, errs)
	}
	if _, errs, code := p.run(t, nil, "ledger", "migrations"); code != 2 || !strings.Contains(errs, "--sql") {
		t.Errorf("ledger migrations: exit code %d, %q", code, errs)
	}
}
