package summary_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
)

var now = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

// events is a fleet of events.
type events struct {
	monitor.Fleet
	status  fleet.Status
	workers []fleet.Worker
	tasks   []fleet.Task
	counts  []fleet.Counts
}

func (e *events) Status() fleet.Status                   { return e.status }
func (e *events) Workers() []fleet.Worker                { return e.workers }
func (e *events) Tasks(fleet.Filter) (fleet.Page, error) { return fleet.Page{Tasks: e.tasks}, nil }
func (e *events) Series(time.Duration) fleet.Series {
	return fleet.Series{Begin: now, Counts: e.counts}
}
func (e *events) Latency(time.Duration) fleet.Latency {
	return fleet.Latency{Runtime: fleet.Quantiles{Count: 3, P50: time.Second, P95: 2 * time.Second, P99: 3 * time.Second}}
}

// health is the health of a fleet.
type health struct{ state vitals.State }

func (h *health) Refresh(context.Context) error { return nil }
func (h *health) State() vitals.State           { return h.state }

// mails is a history of mails.
type mails struct{ err error }

func (m mails) Stats(context.Context, time.Time, time.Time) ([]ledger.Count, error) {
	return []ledger.Count{
		{Kind: "otp", State: ledger.Accepted, N: 95, Within: 93, P95: 4}, {Kind: "otp", State: ledger.Expired, N: 3},
		{Kind: "otp", State: ledger.Unknown, N: 2}, {Kind: "otp", State: ledger.Deferred, N: 50}, {Kind: "welcome", State: ledger.Accepted, N: 7},
	}, m.err
}

func (m mails) Classes(context.Context, time.Time, time.Time) ([]ledger.ClassCount, error) {
	return []ledger.ClassCount{{Class: "account", N: 2}, {Class: "reputation", N: 3}, {Class: "account", Kind: "x", N: 2}}, m.err
}

func (m mails) List(context.Context, ledger.Filter) (ledger.Page, error) {
	return ledger.Page{Mails: []ledger.Mail{{FirstSeen: now.Add(-time.Second)}, {FirstSeen: now.Add(-40 * time.Second)}}}, m.err
}

// newMails is a history whose tables a worker makes after the start of the monitor.
type newMails struct {
	mails
	made atomic.Bool
}

func (m *newMails) missing() mails {
	if m.made.Load() {
		return m.mails
	}
	return mails{ledger.ErrNoHistory}
}

func (m *newMails) Stats(ctx context.Context, from, to time.Time) ([]ledger.Count, error) {
	return m.missing().Stats(ctx, from, to)
}

func (m *newMails) List(ctx context.Context, f ledger.Filter) (ledger.Page, error) {
	return m.missing().List(ctx, f)
}

// A monitor that started before the first worker knows the history seconds after its begin.
func TestHistoryThatBeginsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(newMails)
		k := summary.New(summary.Config{Mails: m, CodeKinds: []string{"otp"}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		time.Sleep(time.Second)
		if s := k.Summary(); s.Codes.Known || len(s.Missing) == 0 {
			t.Errorf("without a history: %+v", s)
		}
		m.made.Store(true)
		time.Sleep(5 * time.Second)
		if s := k.Summary(); !s.Codes.Known {
			t.Errorf("with a history: %+v", s.Missing)
		}
		cancel()
		<-done
	})
}

func report(status string, breakers ...monitor.Breaker) monitor.Report {
	ok := monitor.Part{State: monitor.State{OK: true}}
	return monitor.Report{
		Status: status, Worker: ok, Queue: ok, Keys: ok, Database: ok, Mail: ok, Held: ok, History: ok, DeadLetters: ok, Bounces: ok, Configuration: ok,
		Breakers: breakers, Tasks: monitor.Tasks{Concurrency: 4, Running: 2, Received: 9},
	}
}

// rules returns the names of the rules that have found something.
func rules(s *summary.Summary) string {
	var all []string
	for _, f := range s.Findings {
		all = append(all, f.Rule)
	}
	return strings.Join(all, " ")
}

// A relay that accepts the worker again, and is tried with few mails at a time, is no refusal.
func TestServerThatRefusesNoMore(t *testing.T) {
	for phase, want := range map[string]string{"open": "refused", "probing": "refused", "half-open": "breaker", "closed": ""} {
		r := report("healthy", monitor.Breaker{Name: "relay r:1", State: phase, Reason: "535 no", Refused: true, Since: "2026-11-30T02:00:00Z"})
		k := summary.New(summary.Config{Vitals: &health{vitals.State{At: now, Processes: []vitals.Process{{ID: "1", Node: "w@a", Report: r}}}}, Now: func() time.Time { return now }})
		k.Refresh(t.Context())
		if got := strings.TrimSpace(strings.ReplaceAll(rules(k.Summary()), "history", "")); got != want { // there is no history
			t.Errorf("%s: rules %q, want %q", phase, got, want)
		}
	}
}

// A worker whose heartbeats end without a farewell is lost. One that is a moment late, or sends
// none at all, is not.
func TestLostWorkers(t *testing.T) {
	beats := []fleet.Seconds{fleet.Seconds(now.Unix() - 60)}
	e := &events{
		status: fleet.Status{Began: now.Add(-time.Hour), Joined: now.Add(-time.Hour), LastEvent: now},
		workers: []fleet.Worker{
			{Node: "dead@p", Python: true, Heartbeats: beats, Freq: 2, Seen: now.Add(-time.Minute), Active: 1}, {Node: "left@p", Left: true, Heartbeats: beats, Freq: 2, Seen: now.Add(-time.Minute)},
			{Node: "late@p", Heartbeats: beats, Freq: 2, Seen: now.Add(-10 * time.Second)}, {Node: "slow@p", Heartbeats: beats, Freq: 60, Seen: now.Add(-time.Minute)},
			{Node: "mute@p", Seen: now.Add(-time.Minute)}, {Node: "well@p", Online: true, Heartbeats: beats, Freq: 2, Seen: now},
		},
	}
	k := summary.New(summary.Config{Fleet: e, Vitals: &health{vitals.State{At: now}}, Now: func() time.Time { return now }})
	k.Refresh(t.Context())
	var lost []string
	for _, f := range k.Summary().Findings {
		if f.Rule == "lost" {
			lost = append(lost, f.Subject)
		}
	}
	if len(lost) != 1 || lost[0] != "dead@p" {
		t.Errorf("lost are %q", lost)
	}
}

func TestSummary(t *testing.T) {
	open := 4
	e := &events{
		status: fleet.Status{Began: now.Add(-time.Hour), Joined: now.Add(-time.Hour), LastEvent: now},
		workers: []fleet.Worker{
			{Node: "celery@p", Online: true, Python: true, Ident: "py-celery", Version: "5.5", Active: 1, Seen: now, Heartbeats: []fleet.Seconds{fleet.Seconds(now.Unix() - 90)}, Freq: 2},
			{Node: "worker@a", Online: true}, {Node: "gone@x"}, {Node: "left@x", Online: true, Left: true},
		},
	}
	for range 20 {
		e.counts = append(e.counts, fleet.Counts{Received: 10, Succeeded: 8, Retried: 1, Failed: 1, Rejected: 1})
	}
	bad := report("degraded", monitor.Breaker{Name: "relay r:1", State: "open", Reason: "535 no", Refused: true, Since: "2026-11-30T02:00:00Z"}, monitor.Breaker{Name: "database", State: "closed"})
	bad.Mail = monitor.Part{State: monitor.State{Text: "no mail gets out"}}
	bad.History = monitor.Part{State: monitor.State{Text: "behind"}, Since: "2026-11-30T02:30:00Z"}
	h := &health{vitals.State{At: now, Processes: []vitals.Process{
		{ID: "1", Node: "worker@a", Version: "v1", Report: bad, VisibilityTimeout: 3600, Settings: []vitals.Setting{{Variable: "QUEUES", Digest: "a"}, {Variable: "REDACT", Digest: "a"}}},
		{ID: "2", Node: "worker@a", Version: "v1", Report: report("healthy", monitor.Breaker{Name: "relay r:1", State: "closed"}), VisibilityTimeout: 60,
			Settings: []vitals.Setting{{Variable: "QUEUES", Digest: "b"}, {Variable: "REDACT", Digest: "b"}, {Variable: "SMTP_PASSWORD", Digest: "x", Secret: true, Since: now.AddDate(-3, 0, 0)}}},
	}}}
	at := now
	k := summary.New(summary.Config{
		Fleet: e, Vitals: h, Mails: mails{}, CodeKinds: []string{"otp"}, Now: func() time.Time { return at },
		Queues: func() summary.Queues {
			return summary.Queues{Known: true, Unacked: 3, All: []summary.Queue{{Name: "q", Messages: 5, In: 2, Out: 1, Consumers: 2, Oldest: summary.Age{Known: true, Seconds: 60}}}}
		},
		Letters: func(context.Context) (broker.LetterCounts, error) { return broker.LetterCounts{Open: open}, nil },
	})
	k.Refresh(t.Context())
	open, at = 6, at.Add(time.Minute)
	k.Refresh(t.Context())
	at = now
	k.Refresh(t.Context())
	s := k.Summary()
	if s.Rates.Received != 10 || s.Rates.Failed != 2 || len(s.Rates.Series.Received) != 20 || s.Latency.P95 != 2 {
		t.Errorf("rates %+v, latency %+v", s.Rates, s.Latency)
	}
	if s.Outcomes.Failed != 20 {
		t.Errorf("outcomes %+v", s.Outcomes)
	}
	if c := s.Codes; c.Ended != 100 || c.InTime != 93 || c.Expired != 3 || c.P95 != 4 || c.Share != 0.93 || c.Budget > -5.9 || c.Budget < -6.1 || c.Number != 2 || c.Waiting != 40 {
		t.Errorf("codes %+v", c)
	}
	if len(s.Failures) != 2 || s.Failures[0] != (summary.Failure{Class: "account", N: 4}) {
		t.Errorf("failures %+v", s.Failures)
	}
	if len(s.Breakers) != 2 || s.Breakers[0].Phase != "closed" || s.Breakers[1].Phase != "open" || !s.Breakers[1].Refused || len(s.Breakers[1].Nodes) != 1 {
		t.Errorf("breakers %+v", s.Breakers)
	}
	if len(s.Workers) != 3 || s.Workers[0].Node != "celery@p" || s.Workers[0].Skew > -80 || s.Workers[1].Trouble != "mail, history, breaker relay r:1" {
		t.Errorf("workers %+v", s.Workers)
	}
	const want = "refused visibility code-waits same-node history letters queue-late clock codes failures reputation secret configuration"
	got := strings.Fields(rules(s))
	for _, rule := range strings.Fields(want) {
		if !strings.Contains(" "+strings.Join(got, " ")+" ", " "+rule+" ") {
			t.Errorf("rule %s has found nothing; found %q", rule, got)
		}
	}
	if len(got) != len(strings.Fields(want)) {
		t.Errorf("found %q, want %q", got, want)
	}
	if raw, err := json.Marshal(s); err != nil || !strings.Contains(string(raw), `"findings":[{"rule":"`) {
		t.Errorf("as JSON: %v, %s", err, raw)
	}
}

// Without Redis nothing that it told before is shown as news. The rules still see all.
func TestSummaryWithoutRedis(t *testing.T) {
	queues := summary.Queues{Known: true, Messages: 5, All: []summary.Queue{{Name: "q", Messages: 5}}}
	k := summary.New(summary.Config{
		Fleet: &events{
			status:  fleet.Status{Began: now.Add(-time.Hour), Joined: now.Add(-time.Hour), LastEvent: now},
			workers: []fleet.Worker{{Node: "celery@p", Online: true, Python: true, Ident: "py", Version: "5", Active: 1, Processed: 8, Seen: now}},
			counts:  []fleet.Counts{{Received: 10}},
			tasks:   []fleet.Task{{Sent: fleet.Seconds(now.Unix() - 60)}},
		},
		Vitals: &health{vitals.State{At: now, Processes: []vitals.Process{
			{ID: "1", Node: "w@a", Report: report("degraded", monitor.Breaker{Name: "database", State: "open", Reason: "refused", Since: "2026-11-30T02:00:00Z"})},
		}}},
		Now:       func() time.Time { return now },
		CodeTasks: []string{"otp"},
		Queues:    func() summary.Queues { return queues },
		Letters:   func(context.Context) (broker.LetterCounts, error) { return broker.LetterCounts{Open: 3}, nil },
	})
	look := func() *summary.Summary {
		k.Refresh(t.Context())
		return k.Summary()
	}
	before := look()
	if !before.Rates.Known || !before.Latency.Known || !before.Letters.Known || before.Breakers[0].Phase != "open" || before.Workers[0].Active != 1 || before.Workers[1].Trouble == "" || before.Codes.Number != 1 {
		t.Errorf("with Redis: %+v", before)
	}
	queues.Fault = "connection refused"
	away := look()
	if got := rules(away); got != "code-waits queues" {
		t.Errorf("without Redis the rules have found %q", got)
	}
	want := &summary.Summary{
		At: now, Findings: away.Findings, Missing: away.Missing,
		Rates:    summary.Rates{Series: before.Rates.Series},
		Queues:   summary.Queues{Fault: "connection refused", Unacked: -1, All: []summary.Queue{}},
		Breakers: []summary.Breaker{{Name: "database", Phase: summary.NotKnown, Nodes: []string{}}},
		Codes:    summary.Codes{Share: 1, Budget: 1, Objective: before.Codes.Objective},
		Workers: []summary.Worker{
			{Node: "celery@p", Python: true, Version: "py 5", Status: summary.NotKnown, Processed: 8},
			{Node: "w@a", Process: "1", Status: summary.NotKnown, Concurrency: 4, Processed: 9},
		},
	}
	if diff := cmp.Diff(want, away); diff != "" {
		t.Errorf("without Redis (-want +got):\n%s", diff)
	}
	queues.Fault = ""
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("afterwards (-before +now):\n%s", diff)
	}
}

// Without a source its part is missing, and says how to get it.
func TestSummaryWithoutSources(t *testing.T) {
	k := summary.New(summary.Config{NoHistory: "LEDGER_DATABASE_URL is off", Now: func() time.Time { return now }})
	k.Refresh(t.Context())
	s := k.Summary()
	var parts []string
	for _, m := range s.Missing {
		parts = append(parts, m.Part)
	}
	if got := strings.Join(parts, " "); got != "rates queues codes" || s.Codes.Known || s.Letters.Known || len(s.Findings) != 0 {
		t.Errorf("missing %q, %+v", got, s)
	}
	e := &events{status: fleet.Status{Began: now.Add(-time.Minute), Joined: now.Add(-time.Minute)}, tasks: []fleet.Task{{Sent: fleet.Seconds(now.Unix() - 20)}}}
	k = summary.New(summary.Config{
		Fleet: e, Mails: mails{errors.New("away")}, Now: func() time.Time { return now }, CodeTasks: []string{"otp"},
		Letters: func(context.Context) (broker.LetterCounts, error) { return broker.LetterCounts{}, errors.New("away") },
	})
	k.Refresh(t.Context())
	s = k.Summary()
	if s.Codes.Waiting != 20 || s.Codes.Known || rules(s) != "code-waits" || s.Letters.Known {
		t.Errorf("%+v, %q", s.Codes, rules(s))
	}
}
