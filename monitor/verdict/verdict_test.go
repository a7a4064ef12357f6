package verdict_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/worker/broker"
)

// A task that was published twice under one id has two mails. The answer names the time and the
// queue id of the first together, and tells of the second.
func TestTwoCopies(t *testing.T) {
	first := time.Date(2026, 11, 30, 1, 41, 43, 0, time.UTC)
	second := first.Add(time.Minute)
	h := ledger.History{
		Mail: ledger.Mail{TaskID: "t", Kind: "welcome", State: ledger.Accepted, StateAt: second, AcceptedAt: &first, Attempts: 2},
		Events: []ledger.Record{
			{At: first.Add(-time.Second), State: ledger.Sending},
			{At: first, State: ledger.Accepted, Endpoint: "relay:25", QueueID: "AAA"},
			{At: second, State: ledger.Accepted, Endpoint: "relay:25", QueueID: "BBB"},
		},
	}
	sent, text := verdict.Judge(h, second.Add(time.Hour))
	one, two, found := strings.Cut(text, " It was accepted 2 times")
	if sent != verdict.Yes || !found || !strings.Contains(one, "41:43") || !strings.Contains(one, "AAA") || !strings.Contains(two, "42:43") || !strings.Contains(two, "BBB") {
		t.Errorf("%s: %s", sent, text)
	}
	h.Events = h.Events[:2]
	if _, text := verdict.Judge(h, second); strings.Contains(text, "times") || !strings.Contains(text, "AAA") {
		t.Errorf("one copy: %s", text)
	}
}

// refused is a history with one mail, whose address was refused and may be suppressed.
type refused []suppressions.Suppression

func (refused) Find(context.Context, string, int) ([]ledger.Mail, error) {
	return []ledger.Mail{{TaskID: "t", Kind: "otp", State: ledger.Rejected}}, nil
}

func (refused) Histories(_ context.Context, mails []ledger.Mail) ([]ledger.History, error) {
	return []ledger.History{{Mail: mails[0]}}, nil
}

func (refused) Oldest(context.Context) (time.Time, error) { return time.Time{}, nil }

func (r refused) Suppressed(context.Context, ledger.Mail) ([]suppressions.Suppression, error) {
	return r, nil
}

func (r refused) SuppressedAddress(context.Context, string) ([]suppressions.Suppression, error) {
	return r, nil
}

// A retry of a dead letter is not said to send a mail that its suppression withholds.
func TestRetryToSuppressedAddress(t *testing.T) {
	for name, test := range map[string]struct {
		mails refused
		want  string
	}{
		"free":       {nil, "retry abc sends it again"},
		"suppressed": {refused{{Class: suppressions.BadAddress}}, "retry abc sends it again as soon as the address is released"},
		"optional":   {refused{{Class: suppressions.BadAddress, Scope: suppressions.OptionalMails}}, "retry abc sends it again"},
	} {
		a, err := verdict.Ask(t.Context(), test.mails, verdict.Question{Of: "a@b.example", Limit: 1, Redis: func(context.Context, string) verdict.Traces {
			return verdict.Traces{DeadLetter: &broker.DeadLetter{ID: "abc"}}
		}})
		if err != nil || !strings.HasSuffix(strings.Join(a.Traces.Lines(), "\n"), test.want) {
			t.Errorf("%s: %v, %q, want %q", name, err, a.Traces.Lines(), test.want)
		}
	}
}

// empty is a history without mails.
type empty struct{ refused }

func (empty) Find(context.Context, string, int) ([]ledger.Mail, error) { return nil, nil }

// A history that is behind may not have the mail yet. That is said of an address, too, of which
// Redis knows nothing.
func TestHistoryIsBehind(t *testing.T) {
	for _, of := range []string{"a@b.example", "4711"} {
		for unwritten, want := range map[int]bool{0: false, 640: true} {
			a, err := verdict.Ask(t.Context(), empty{}, verdict.Question{Of: of, Limit: 1, Redis: func(context.Context, string) verdict.Traces {
				return verdict.Traces{Unwritten: unwritten}
			}})
			if got := strings.Contains(a.Verdict, "The history is behind: 640 events of mails wait"); err != nil || got != want || a.Sent != verdict.Unknown {
				t.Errorf("%s, %d events: %v, %q", of, unwritten, err, a.Verdict)
			}
		}
	}
}

// accepted is a history with one mail that was accepted.
type accepted struct{ refused }

func (accepted) Find(context.Context, string, int) ([]ledger.Mail, error) {
	at := time.Now().Add(-time.Hour)
	return []ledger.Mail{{TaskID: "t", Kind: "otp", State: ledger.Accepted, StateAt: at, AcceptedAt: &at}}, nil
}

// A history that is behind may lack a newer mail to an address than the one it has.
func TestNewerMailMayBeMissing(t *testing.T) {
	for name, test := range map[string]struct {
		mails  verdict.Mails
		traces verdict.Traces
		want   bool
	}{
		"accepted, up to date": {accepted{}, verdict.Traces{}, false},
		"accepted, busy":       {accepted{}, verdict.Traces{Unwritten: 9, Oldest: new(time.Now().Add(-time.Second))}, false},
		"accepted, behind":     {accepted{}, verdict.Traces{Unwritten: 9, Oldest: new(time.Now().Add(-time.Minute))}, true},
		"rejected, behind":     {refused{}, verdict.Traces{Unwritten: 9, Oldest: new(time.Now().Add(-time.Minute))}, true},
	} {
		a, err := verdict.Ask(t.Context(), test.mails, verdict.Question{Of: "a@b.example", Limit: 1, Redis: func(context.Context, string) verdict.Traces { return test.traces }})
		if got := strings.Contains(a.Verdict, "it may lack newer events and mails."); err != nil || got != test.want {
			t.Errorf("%s: %v, %q", name, err, a.Verdict)
		}
	}
}
