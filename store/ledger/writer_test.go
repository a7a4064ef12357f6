package ledger_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger"
)

func init() {
	suite["Life"] = testLife
	suite["OutOfOrder"] = testOutOfOrder
	suite["Idempotent"] = testIdempotent
	suite["Poison"] = testPoison
	suite["RemovalFails"] = testRemovalFails
	suite["NoSecrets"] = testNoSecrets
	suite["SecondRun"] = testSecondRun
	suite["FirstSeenLost"] = testFirstSeenLost
	suite["AddressChanged"] = testAddressChanged
	suite["HostileTexts"] = testHostileTexts
}

// life returns the events of a mail that is deferred once, accepted and returned.
func life() []ledger.Event {
	base := fullEvent()
	base.FirstSeen = noon
	step := func(state ledger.State, after time.Duration, attempt int) ledger.Event {
		e := base
		e.State, e.At, e.Attempt = state, noon.Add(after), attempt
		if state != ledger.Deferred {
			e.NextAt, e.Code, e.Enhanced, e.Class, e.Reason, e.Stage = time.Time{}, 0, "", "", "", ""
		}
		return e
	}
	bounce := step(ledger.Bounced, time.Hour, 2)
	bounce.Class, bounce.Enhanced = "bad_address", "5.1.1"
	return []ledger.Event{
		step(ledger.Sending, 10*time.Millisecond, 1),
		step(ledger.Deferred, 20*time.Millisecond, 1),
		step(ledger.Sending, 30*time.Second, 2),
		step(ledger.Accepted, 31*time.Second, 2),
		bounce,
	}
}

func testLife(t *testing.T, f *fixture) {
	events := life()
	f.write(events[0], events[1])
	if oldest, err := f.reader().Oldest(t.Context()); err != nil || !oldest.Equal(noon) {
		t.Errorf("oldest mail: %v, %v", oldest, err)
	}
	m := f.only(ledger.Filter{})
	if m.State != ledger.Deferred || m.NextAt == nil || !m.NextAt.Equal(events[1].NextAt) || m.Class != "transient" || m.Code != 451 || m.Attempts != 1 {
		t.Errorf("deferred: %+v", m)
	}
	f.write(events[2:4]...)
	m = f.only(ledger.Filter{})
	if m.State != ledger.Accepted || m.NextAt != nil || m.Class != "" || m.Attempts != 2 || m.AcceptedAt == nil || !m.AcceptedAt.Equal(noon.Add(31*time.Second)) {
		t.Errorf("accepted: %+v", m)
	}
	if m.To != "a***@example.com" || m.Address != "ada@example.com" || *m.UserID != 42 || m.Booking != "7" || m.TaskID != "booking-7" || !m.FirstSeen.Equal(noon) {
		t.Errorf("facts: %+v", m)
	}
	f.write(events[4])
	if m = f.only(ledger.Filter{}); m.State != ledger.Bounced || m.Class != "bad_address" {
		t.Errorf("bounced: %+v", m)
	}
	shown, err := f.reader().Show(t.Context(), "booking-7")
	if err != nil || len(shown) != 1 || len(shown[0].Events) != 5 {
		t.Fatalf("Show: %+v, %v", shown, err)
	}
	first := shown[0].Events[1]
	if first.Text != "Greylisted, see you later" || first.Endpoint != "relay.example:587" || first.State != ledger.Deferred || first.Worker != "celery@a" ||
		cmp.Diff(fullEvent().Phases, first.Phases) != "" || first.MessageID != "<x@evently.example>" {
		t.Errorf("an event: %+v", first)
	}
	if byMail, err := f.reader().Show(t.Context(), m.Mail); err != nil || len(byMail) != 1 {
		t.Errorf("by fingerprint: %+v, %v", byMail, err)
	}
	if none, err := f.reader().Show(t.Context(), "booking-8"); err != nil || none != nil {
		t.Errorf("an unknown id: %+v, %v", none, err)
	}
}

// Events that come in any order lead to the same state.
func testOutOfOrder(t *testing.T, f *fixture) {
	events := life()
	for i := range events {
		f.stream.add(ledger.Encode(events[i], f.sealer))
	}
	f.stream.mu.Lock()
	entries := f.stream.entries
	entries[0], entries[4] = entries[4], entries[0]
	entries[1], entries[2] = entries[2], entries[1]
	f.stream.mu.Unlock()
	late := entries[3:]
	f.stream.entries = entries[:3]
	f.run(f.writer(nil), func() bool { return f.stream.length() == 0 })
	f.stream.entries = late
	f.run(f.writer(nil), func() bool { return f.stream.length() == 0 })
	m := f.only(ledger.Filter{})
	if m.State != ledger.Bounced || m.Attempts != 2 || m.AcceptedAt == nil || m.Class != "bad_address" {
		t.Errorf("%+v", m)
	}
	shown, err := f.reader().Show(t.Context(), "booking-7")
	if err != nil || len(shown) != 1 || len(shown[0].Events) != 5 || shown[0].Events[0].State != ledger.Sending {
		t.Errorf("Show: %+v, %v", shown, err)
	}
}

// Entries that cannot be removed are read again, stored once and counted once.
func testIdempotent(t *testing.T, f *fixture) {
	for _, e := range life() {
		f.stream.add(ledger.Encode(e, f.sealer))
	}
	f.stream.setRefuse(true)
	w := f.writer(nil)
	f.run(w, func() bool { s := w.Status(); return s.Written == 5 && !s.On })
	if s := w.Status(); s.Reason != "history waits: the broker is unavailable, or refuses writes" {
		t.Errorf("reason %q", s.Reason)
	}
	f.stream.setRefuse(false)
	w = f.writer(nil)
	f.run(w, func() bool { return f.stream.length() == 0 })
	if n := w.Status().Written; n != 0 {
		t.Errorf("%d events stored twice", n)
	}
	if n := f.count("events"); n != 5 {
		t.Errorf("%d events", n)
	}
	stats, err := f.reader().Stats(t.Context(), noon.Add(-time.Hour), noon.Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range stats {
		want := int64(1)
		if c.State == ledger.Sending {
			want = 2
		}
		if c.N != want || c.Kind != "booking_confirmation" {
			t.Errorf("%+v, want %d", c, want)
		}
	}
	if len(stats) != 4 {
		t.Errorf("%d counts: %+v", len(stats), stats)
	}
}

// Entries that cannot be read, and events that the database refuses, block nothing.
func testPoison(t *testing.T, f *fixture) {
	good := life()
	f.stream.add(nil, []string{"rubbish"}, ledger.Encode(good[0], f.sealer), []string{"v", "1", "m", "x"})
	bad := ledger.Encode(good[1], f.sealer)
	f.stream.add(bad, ledger.Encode(good[3], f.sealer))
	w := f.writer(nil)
	f.run(w, func() bool { return f.stream.length() == 0 && w.Status().Skipped == 3 })
	if n := f.count("events"); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

// The texts of a hostile or careless producer end in no table.
func testNoSecrets(t *testing.T, f *fixture) {
	const code, password = "482913", "correct horse"
	e := fullEvent()
	e.Secrets = []string{code, password}
	e.Text = "rejected: your code is " + code + " " + password
	e.Reason, e.Endpoint, e.QueueID, e.TLS = e.Text, "smtp://u:"+password+"@host", code, password
	f.write(e)
	all := f.dump()
	for _, secret := range []string{code, password, "ada@", "Ada@"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in the database:\n%s", secret, all)
		}
	}
	if !strings.Contains(all, "a***@example.com") {
		t.Errorf("no masked address: this test proves nothing\n%s", all)
	}
}

// A mail of the same fingerprint, sent weeks later, is another mail.
func testSecondRun(t *testing.T, f *fixture) {
	first := life()[3]
	second := first
	second.FirstSeen = first.FirstSeen.AddDate(0, 0, 20)
	second.At = second.FirstSeen.Add(time.Second)
	f.write(first, second)
	mails := f.list(ledger.Filter{TaskID: "booking-7"})
	if len(mails) != 2 || !mails[0].FirstSeen.Equal(second.FirstSeen) {
		t.Fatalf("%+v", mails)
	}
	shown, err := f.reader().Show(t.Context(), "booking-7")
	if err != nil || len(shown) != 2 || len(shown[0].Events) != 1 || !shown[0].Events[0].At.Equal(second.At) || len(shown[1].Events) != 1 {
		t.Errorf("%+v, %v", shown, err)
	}
}

// A crash loses the time of the first claim. The mail keeps its row.
func testFirstSeenLost(t *testing.T, f *fixture) {
	events := life()
	events[2].FirstSeen, events[3].FirstSeen = noon.Add(30*time.Second), noon.Add(30*time.Second)
	f.write(events[0])
	f.write(events[2], events[3])
	m := f.only(ledger.Filter{})
	if !m.FirstSeen.Equal(noon) || m.State != ledger.Accepted {
		t.Errorf("%+v", m)
	}
}

// A user changes the address between two attempts: the mail went to the second one.
func testAddressChanged(t *testing.T, f *fixture) {
	events := life()
	events[2].Address, events[3].Address, events[4].Address = "ada@new.example", "ada@new.example", ""
	f.write(events[1], events[2])
	f.write(events[3], events[4])
	m := f.only(ledger.Filter{Address: "ada@new.example"})
	if m.To != "a***@new.example" || m.Domain != "new.example" || m.Address != "ada@new.example" {
		t.Errorf("%+v", m)
	}
	if old := f.list(ledger.Filter{Address: "ada@example.com"}); len(old) != 0 {
		t.Errorf("found by the old address: %+v", old)
	}
}

// Texts come back as they were written, although the notation of arrays has special characters.
func testHostileTexts(t *testing.T, f *fixture) {
	for i, text := range []string{`{"a\",NULL}`, "NULL", `\`, `"`, `\"`, "{}", "'; DROP TABLE users; --", "ä 🎉 ", "%s $1 ?", ""} {
		e := life()[3]
		e.Mail, e.TaskID, e.Text, e.Booking, e.Reason = fmt.Sprintf("m%d", i), "task "+text, text, text, text
		f.write(e)
		shown, err := f.reader().Show(t.Context(), "task "+text)
		if err != nil || len(shown) != 1 || len(shown[0].Events) != 1 || shown[0].Events[0].Text != text || shown[0].Booking != text || shown[0].Reason != text {
			t.Errorf("%q: %+v, %v", text, shown, err)
		}
	}
}

func TestWriterChecksItsConfig(t *testing.T) {
	t.Parallel()
	if _, err := ledger.NewWriter(ledger.WriterConfig{}); err == nil {
		t.Error("no broker, and no error")
	}
	if _, err := ledger.NewWriter(ledger.WriterConfig{Outbox: &outbox{}, Retention: -1}); err == nil {
		t.Error("a negative retention, and no error")
	}
}

// Without a database the stream keeps its latest entries only.
func TestNoDatabase(t *testing.T) {
	t.Parallel()
	o := &outbox{}
	fields := ledger.Encode(fullEvent(), nil)
	for range 10_600 {
		o.add(fields)
	}
	w, err := ledger.NewWriter(ledger.WriterConfig{Outbox: o, Off: "history is off: LEDGER_DATABASE_URL is off"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t}
	f.run(w, func() bool { return o.length() == 10_000 })
	if s := w.Status(); s.On || s.Discarded != 600 || s.Reason != "history is off: LEDGER_DATABASE_URL is off" || s.Waiting == 0 || s.Dropped != 3 {
		t.Errorf("%+v", s)
	}
}

// follower fails to remove what is old.
type follower struct{ asked atomic.Int32 }

func (f *follower) Follow(context.Context, *sqlx.Tx, []ledger.Stored) error { return nil }

func (f *follower) Maintain(context.Context, time.Time) error {
	f.asked.Add(1)
	return fmt.Errorf("remove: %w", context.DeadlineExceeded)
}

// A removal of old rows that takes too long does not keep events from being stored.
func testRemovalFails(t *testing.T, f *fixture) {
	old := new(follower)
	f.writeWith(func(c *ledger.WriterConfig) { c.Follower = old }, life()...)
	if m := f.only(ledger.Filter{}); m.State != ledger.Bounced || old.asked.Load() != 1 {
		t.Errorf("%+v, asked %d times", m, old.asked.Load())
	}
}
