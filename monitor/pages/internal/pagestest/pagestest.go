// Package pagestest makes a history of mails for the tests of pages.
package pagestest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/preview"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/broker"
)

// Key is the LEDGER_KEY of the history.
const Key = "the key of the operator, long enough"

// Hostile is a text that people give to tasks, users and bookings.
const Hostile = `"><script>alert(1)</script>'{{.}}`

// History is a history of mails in SQLite.
type History struct {
	*ledger.Reader
	DB     *sqlx.DB
	sealer *ledger.Sealer
}

// New returns an empty history.
func New(tb testing.TB) *History {
	tb.Helper()
	db, err := ledger.OpenSQLite(filepath.Join(tb.TempDir(), "ledger.db"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	sealer, err := ledger.NewSealer(ledger.SealerConfig{Key: Key, Mask: mail.MaskAddress})
	if err != nil {
		tb.Fatal(err)
	}
	return &History{ledger.NewReader(ledger.ReaderConfig{DB: db, Sealer: sealer}), db, sealer}
}

// stream is a stream of events in memory.
type stream struct {
	mu      sync.Mutex
	entries []broker.Recorded
}

func (s *stream) Oldest(_ context.Context, _ string, most int) ([]broker.Recorded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries[:min(most, len(s.entries))]), nil
}

func (s *stream) Remove(_ context.Context, _ string, ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(e broker.Recorded) bool { return slices.Contains(ids, e.ID) })
	return nil
}

func (s *stream) Backlog(context.Context, string) (broker.Backlog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return broker.Backlog{Length: len(s.entries)}, nil
}

func (s *stream) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// Write stores events.
func (h *History) Write(tb testing.TB, events ...ledger.Event) {
	tb.Helper()
	s := &stream{}
	for i, e := range events {
		at := e.At
		s.entries = append(s.entries, broker.Recorded{ID: fmt.Sprintf("%d-%d", at.UnixMilli(), i), At: at, Fields: ledger.Encode(e, h.sealer)})
	}
	w, err := ledger.NewWriter(ledger.WriterConfig{DB: h.DB, Outbox: s, Sealer: h.sealer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); s.length() > 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal("the history was not written in time")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		tb.Fatal(err)
	}
}

// Samples writes the mails that tests and screenshots show, the newest at now.
func (h *History) Samples(tb testing.TB, now time.Time) {
	tb.Helper()
	var events []ledger.Event
	add := func(age time.Duration, e ledger.Event) {
		e.FirstSeen = now.Add(-age)
		e.Mail = fmt.Sprintf("%x", sha256.Sum256([]byte(e.TaskID)))[:32]
		if e.At.IsZero() {
			e.At = e.FirstSeen.Add(900 * time.Millisecond)
		}
		e.Worker = "celery@worker-1"
		events = append(events, e)
	}
	accepted := ledger.Event{
		State: ledger.Accepted, Attempt: 1, Stage: ".", Code: 250, Enhanced: "2.0.0", Text: "Ok: queued as 4FzQ2x1Yz3", QueueID: "4FzQ2x1Yz3",
		Endpoint: "smtp.relay.example:587", TLS: "TLS 1.3", MessageID: "<0123456789abcdef@evently.com>",
		Phases: []ledger.Phase{{Name: "wait", Took: 3 * time.Millisecond}, {Name: "connect", Took: 41 * time.Millisecond}, {Name: "mail", Took: 20 * time.Millisecond}, {Name: "rcpt", Took: 22 * time.Millisecond}, {Name: "data", Took: 21 * time.Millisecond}, {Name: "guard", Took: 800 * time.Microsecond}, {Name: "final", Took: 120 * time.Millisecond}},
	}
	kinds := []string{"otp", "welcome", "booking_confirmation", "booking_cancellation", "waitlist_joined"}
	for i := range 60 {
		e := accepted
		e.TaskID, e.Kind, e.UserID = fmt.Sprintf("8f14e45f-ceea-467f-a1de-%012d", i), kinds[i%len(kinds)], int64(i%7+1)
		e.Address, e.Booking, e.QueueID = fmt.Sprintf("user%d@domain%d.example", i%7, i%3), fmt.Sprintf("BK-%d", i%9), fmt.Sprintf("4FzQ2x1Y%d", i)
		e.Text = "Ok: queued as " + e.QueueID
		add(time.Duration(i)*7*time.Minute+3*time.Minute, e)
	}
	deferred := accepted
	deferred.TaskID, deferred.Kind, deferred.UserID, deferred.Address, deferred.Booking = "task-deferred", "booking_confirmation", 42, "ada@example.com", "BK-42"
	deferred.QueueID = "4FzQdeferred"
	first := deferred
	first.State, first.Code, first.Enhanced, first.Class, first.Text, first.Reason, first.Stage, first.QueueID = ledger.Deferred, 451, "4.7.1", "greylisted", "Greylisted, try again in 60 seconds", "put off by the mail server", "RCPT", ""
	first.MessageID, first.NextAt = "", now.Add(-4*time.Minute)
	add(5*time.Minute, first)
	deferred.Attempt, deferred.At = 2, now.Add(-4*time.Minute)
	add(5*time.Minute, deferred)
	bounced := deferred
	bounced.State, bounced.Stage, bounced.Code, bounced.Enhanced, bounced.Class, bounced.Text, bounced.Reason, bounced.Attempt, bounced.Endpoint = ledger.Bounced, ledger.StageBounce, 550, "5.1.1", "address", "User unknown", "returned by the server of the recipient", 0, "mx.example.com"
	bounced.Phases, bounced.TLS, bounced.QueueID, bounced.MessageID, bounced.At = nil, "", "", "", now.Add(-3*time.Minute)
	add(5*time.Minute, bounced)
	dead := ledger.Event{TaskID: "task-dead", Kind: "welcome", State: ledger.Dead, Attempt: 3, UserID: 43, Address: "grace@example.org", Stage: "AUTH", Code: 535, Enhanced: "5.7.8", Class: "account", Text: "Authentication credentials invalid", Reason: "account refused", Endpoint: "smtp.relay.example:587"}
	add(2*time.Minute, dead)
	hostile := accepted
	hostile.TaskID, hostile.Kind, hostile.UserID, hostile.Booking, hostile.Text, hostile.Address = "task-"+Hostile, "booking_confirmation", 99, Hostile, Hostile+strings.Repeat(" x", 100), "mallory@evil.example"
	hostile.QueueID = "hostile"
	add(time.Minute, hostile)
	h.Write(tb, events...)
}

// Maker returns a maker of previews.
func Maker(tb testing.TB, arguments preview.Arguments) *preview.Maker {
	tb.Helper()
	set, err := tasks.NewTemplates(templates.Options{SiteURL: "https://evently.com", SupportAddress: "help@evently.com"})
	if err != nil {
		tb.Fatal(err)
	}
	sender, err := mail.New(mail.Config{Host: "127.0.0.1", Security: mail.Plain, HelloName: "localhost", FromName: "Evently", FromAddress: "noreply@evently.com", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return preview.New(preview.Config{Templates: set, Composer: sender, Arguments: arguments})
}

// Kinds returns the kinds of mails.
func Kinds() (kinds []string) {
	for _, m := range tasks.Mails() {
		kinds = append(kinds, m.Kind())
	}
	return kinds
}
