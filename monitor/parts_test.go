package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker/broker"
)

// Each part says how it is, since when, why and what to do.
func TestParts(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	running := consuming()
	running.LastLook = now.Add(-2 * time.Second)
	with := func(change func(*monitor.WorkerState)) monitor.WorkerState {
		w := running
		change(&w)
		return w
	}
	for name, test := range map[string]struct {
		change func(*monitor.HealthConfig)
		path   string
		code   int
		status string
		has    []string // of the page
	}{
		"worker": {func(*monitor.HealthConfig) {}, "/health/worker", 200, "ok", []string{`"4, 2 of them in use, 1 tasks waiting"`}},
		"worker that waits for its configuration": {func(c *monitor.HealthConfig) {
			c.Worker = func() monitor.WorkerState {
				return monitor.WorkerState{State: "waiting", Waits: "configuration: secrets service unavailable"}
			}
		}, "/health/worker", 503, "degraded", []string{`"advice": "the worker starts by itself`}},
		"worker that stops": {func(c *monitor.HealthConfig) {
			c.Worker = func() monitor.WorkerState {
				return with(func(w *monitor.WorkerState) { w.State, w.Consuming = "stopping", false })
			}
		}, "/health/worker", 503, "degraded", []string{`"reason": "the worker is stopping"`}},
		"handlers left behind": {func(c *monitor.HealthConfig) {
			c.Worker = func() monitor.WorkerState {
				return with(func(w *monitor.WorkerState) { w.LeftBehind = 3 })
			}
		}, "/health/worker", 200, "degraded", []string{"hard time limit exceeded"}},
		"queue": {func(*monitor.HealthConfig) {}, "/health/queue", 200, "ok", []string{`"age_seconds": 2`}},
		"queue without Redis": {func(c *monitor.HealthConfig) {
			c.Worker = func() monitor.WorkerState {
				return with(func(w *monitor.WorkerState) { w.Consuming, w.LastLook = false, now.Add(-70*time.Second) })
			}
		}, "/health/queue", 503, "failed", []string{"REDIS_URL", `"reason": "no answer for 70 s"`, `"age_seconds": 70`}},
		"queues by priority": {func(c *monitor.HealthConfig) {
			c.Queues = func() monitor.QueuesState {
				return monitor.QueuesState{At: now, Unacked: 5, Queues: []monitor.QueueState{
					{Name: "slow"},
					{Name: "mails", Oldest: 4 * time.Second, Depths: []monitor.PriorityDepth{{0, 3}, {3, 0}, {9, 2}}},
				}}
			}
		}, "/health/queue", 200, "ok", []string{"5 waiting (priority 0: 3, priority 9: 2), the oldest for 4 s", `"queue slow"`, `"empty"`, "5 messages claimed"}},
		"queue of a Redis that refuses writes, beside held tasks": {func(c *monitor.HealthConfig) {
			c.Queues = func() monitor.QueuesState {
				return monitor.QueuesState{At: now, Refusal: "OOM command not allowed", Remedy: "it is full: raise maxmemory", Queues: []monitor.QueueState{{Name: "mails"}}}
			}
		}, "/health/queue", 503, "failed", []string{"not consuming: Redis refuses: OOM command not allowed", `"advice": "it is full: raise maxmemory. Messages stay`, `"queue mails"`}},
		"queue of a Redis that refused writes long ago": {func(c *monitor.HealthConfig) {
			c.Queues = func() monitor.QueuesState {
				return monitor.QueuesState{At: now.Add(-time.Hour), Refusal: "OOM command not allowed"}
			}
		}, "/health/queue", 200, "ok", []string{"not known"}},
		"queue that is behind": {func(c *monitor.HealthConfig) {
			c.Queues = func() monitor.QueuesState {
				return monitor.QueuesState{At: now, Unacked: -1, Queues: []monitor.QueueState{{Name: "mails", Oldest: 2 * time.Minute, Depths: []monitor.PriorityDepth{{0, 900}}}}}
			}
		}, "/health/queue", 200, "degraded", []string{"queue mails is behind: 900 waiting, the oldest for 120 s", "start more workers"}},
		"queue that is paused": {func(c *monitor.HealthConfig) {
			c.Queues = func() monitor.QueuesState {
				return monitor.QueuesState{At: now, Queues: []monitor.QueueState{{Name: "mails", Paused: true}}}
			}
		}, "/health/queue", 200, "degraded", []string{"queue mails is paused by an operator", "paused, empty", `"text": "paused by an operator: nothing is taken from mails"`}},
		"one of two queues that is paused": {func(c *monitor.HealthConfig) {
			c.Queues = func() monitor.QueuesState {
				return monitor.QueuesState{At: now, Queues: []monitor.QueueState{{Name: "mails", Paused: true}, {Name: "slow"}}}
			}
		}, "/health/queue", 200, "degraded", []string{`"text": "consuming, but paused by an operator: mails"`}},
		"relay whose last mail failed long ago": {func(c *monitor.HealthConfig) {
			c.Mail = func() monitor.MailState {
				return monitor.MailState{Working: 1, Untried: []monitor.RelayState{{Name: "a:587", Fault: "421 at MAIL", Tried: now.Add(-200 * time.Second)}}}
			}
		}, "/health/mail", 200, "degraded", []string{"the last mail failed 200 s ago, and no mail has been tried since: 421 at MAIL", "the next mail tells"}},
		"queues not seen of late": {func(c *monitor.HealthConfig) {
			c.Queues = func() monitor.QueuesState { return monitor.QueuesState{At: now.Add(-time.Hour)} }
		}, "/health/queue", 200, "ok", []string{"not known"}},
		"mail refused": {func(c *monitor.HealthConfig) {
			c.Mail = func() monitor.MailState {
				return monitor.MailState{Accepted: now.Add(-time.Hour), Faulty: []monitor.RelayState{{Name: "a:587", Fault: "535 5.7.8 at AUTH", Since: now.Add(-10 * time.Minute), Tried: now.Add(-time.Minute)}}}
			}
		}, "/health/email", 503, "failed", []string{`"since": "2026-11-29T02:50:00Z"`, `"age_seconds": 60`, "535 5.7.8", "SMTP variables", `"relay a:587"`}},
		"one relay of two": {func(c *monitor.HealthConfig) {
			c.Mail = func() monitor.MailState {
				return monitor.MailState{Working: 1, Faulty: []monitor.RelayState{{Name: "a:587", Fault: "no answer", Since: now.Add(-time.Minute), Tried: now}}}
			}
		}, "/health/mail", 503, "degraded", []string{"before the other relays fail"}},
		"configuration": {func(c *monitor.HealthConfig) {
			c.Secrets = func() []monitor.SecretState {
				return []monitor.SecretState{{Name: "SMTP_PASSWORD", Since: now.Add(-100 * 24 * time.Hour)}, {Name: "LEDGER_KEY"}, {Name: "REDIS_URL", Since: now.Add(-time.Minute)}}
			}
		}, "/health/configuration", 200, "ok", []string{`"secret SMTP_PASSWORD"`, "known for 100 days", "known for 60 s"}},
		"history behind": {func(c *monitor.HealthConfig) {
			c.Ledger = func() monitor.LedgerState {
				return monitor.LedgerState{Writing: true, Lag: 2 * time.Minute, Waiting: 10}
			}
		}, "/health/history", 503, "degraded", []string{"LEDGER_DATABASE_URL", `"since": "2026-11-29T02:58:00Z"`}},
		"history away": {func(c *monitor.HealthConfig) {
			c.Ledger = func() monitor.LedgerState {
				return monitor.LedgerState{Reason: "no answer", Since: now.Add(-time.Minute)}
			}
		}, "/health/history", 503, "failed", []string{"no mail waits for it", `"since": "2026-11-29T02:59:00Z"`}},
		"dead letters lost": {func(c *monitor.HealthConfig) {
			c.Letters = func() (broker.LetterCounts, time.Time, bool) {
				return broker.LetterCounts{Open: 1, Dropped: 2, LastDropped: now.Add(-time.Hour)}, now, true
			}
		}, "/health/dead_letters", 200, "degraded", []string{"DEAD_LETTERS_MAX"}},
		"dead letters counted a while ago": {func(c *monitor.HealthConfig) {
			c.Letters = func() (broker.LetterCounts, time.Time, bool) {
				return broker.LetterCounts{Open: 4}, now.Add(-20 * time.Second), true
			}
		}, "/health/dead_letters", 200, "ok", []string{`"text": "open: 4"`, `"age_seconds": 20`}},
		"dead letters of before an outage": {func(c *monitor.HealthConfig) {
			c.Letters = func() (broker.LetterCounts, time.Time, bool) {
				return broker.LetterCounts{Open: 4}, now.Add(-20 * time.Second), false
			}
		}, "/health/dead_letters", 200, "degraded", []string{`"text": "not known; 20 s ago 4 were open"`, `"age_seconds": 20`}},
		"queues of before an outage": {func(c *monitor.HealthConfig) {
			c.Worker = func() monitor.WorkerState {
				return with(func(w *monitor.WorkerState) { w.Consuming = false })
			}
			c.Queues = func() monitor.QueuesState {
				return monitor.QueuesState{At: now.Add(-7 * time.Second), Fault: true, Queues: []monitor.QueueState{{Name: "mails"}}}
			}
		}, "/health/queue", 503, "failed", []string{"not known; the last look at the queues that was answered is 7 s old"}},
		"keys without Redis": {func(c *monitor.HealthConfig) {
			c.Worker = func() monitor.WorkerState {
				return with(func(w *monitor.WorkerState) { w.Consuming = false })
			}
		}, "/health/keys", 200, "ok", []string{"not known while no message can be taken"}},
		"history whose stream does not answer": {func(c *monitor.HealthConfig) {
			c.Ledger = func() monitor.LedgerState {
				return monitor.LedgerState{Unknown: true, Reason: "history waits: the broker is unavailable", Since: now.Add(-time.Minute), Stray: 3}
			}
		}, "/health/history", 503, "failed", []string{`"not known"`, `"text": "history waits: the broker is unavailable; since 60 s; no mail waits for it"`}},
		"bounces": {func(c *monitor.HealthConfig) {
			c.Bounces = func() monitor.BouncesState {
				return monitor.BouncesState{Listens: "LMTP on :24", Failing: now.Add(-time.Minute)}
			}
		}, "/health/bounces", 503, "failed", []string{"/health/history"}},
		"events": {func(c *monitor.HealthConfig) {
			c.Events = func() monitor.EventsState {
				return monitor.EventsState{Channels: []string{"evently:bookings:confirmed"}, Since: now.Add(-time.Minute), Reason: "no connection to Redis"}
			}
		}, "/health/events", 503, "failed", []string{"not listening for 60 s", "no connection to Redis", `"since": "2026-11-29T02:59:00Z"`}},
		"gap in the events": {func(c *monitor.HealthConfig) {
			c.Events = func() monitor.EventsState {
				return monitor.EventsState{Channels: []string{"evently:bookings:confirmed"}, Listening: true, Since: now.Add(-time.Minute), Found: true, Gaps: 3,
					GapFrom: now.Add(-3 * time.Minute), GapTo: now.Add(-time.Minute)}
			}
		}, "/health/events", 200, "degraded", []string{"from 02:57:00 to 02:59:00 UTC (120 s); events in between are lost", "no worker has listened: 3"}},
		"held": {func(c *monitor.HealthConfig) {
			c.Held = func() monitor.HeldTasks { return monitor.HeldTasks{Tasks: 3, Cause: "relay a:587", Waiting: -1} }
		}, "/health/held", 503, "degraded", []string{"leave the queues alone"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := monitor.HealthConfig{
				Listener: listen(t), Worker: func() monitor.WorkerState { return running }, Now: func() time.Time { return now },
				Configuration: monitor.State{OK: true, Text: "valid"},
			}
			test.change(&cfg)
			h := newHealth(t, cfg).Handler()
			r := get(h, http.MethodGet, test.path)
			var p monitor.Part
			if err := json.Unmarshal(r.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if r.Code != test.code || p.Status != test.status || p.OK != (test.code == 200) || p.Since == "" {
				t.Errorf("%d, %+v; want %d, %s", r.Code, p, test.code, test.status)
			}
			if p.Status != monitor.PartOK && p.Reason == "" {
				t.Error("no reason")
			}
			for _, want := range test.has {
				if !strings.Contains(r.Body.String(), want) {
					t.Errorf("without %s: %s", want, r.Body)
				}
			}
			if head := get(h, http.MethodHead, test.path); head.Code != test.code {
				t.Errorf("HEAD: %d", head.Code)
			}
		})
	}
}

// A Redis that refuses writes makes the whole process unhealthy, although its worker holds its tasks
// and only reads.
func TestRefusedWritesBesideHeldTasks(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	cfg := monitor.HealthConfig{
		Listener: listen(t), Worker: consuming, Now: func() time.Time { return now },
		Configuration: monitor.State{OK: true, Text: "valid"},
		Queues:        func() monitor.QueuesState { return monitor.QueuesState{At: now, Refusal: "OOM command not allowed"} },
	}
	h := newHealth(t, cfg)
	r := h.Report()
	if r.Status != monitor.StatusUnhealthy || !strings.HasPrefix(r.Keys.Text, "not known while no message can be taken") || !strings.HasPrefix(r.Queue.Advice, "correct what Redis says") {
		t.Errorf("%s, keys %q, advice %q", r.Status, r.Keys.Text, r.Queue.Advice)
	}
	if text := get(h.Handler(), http.MethodGet, "/metrics").Body.String(); !strings.Contains(text, "evently_worker_consuming 0") {
		t.Errorf("metrics say that it consumes:\n%s", text)
	}
}

// Changes of the parts are remembered, also without a probe at the time.
func TestChangesOfParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(world)
		w.setWorker(consuming())
		cfg := w.config(newPipeListener())
		var open atomic.Int64
		cfg.Letters = func() (broker.LetterCounts, time.Time, bool) {
			return broker.LetterCounts{Open: int(open.Load())}, time.Time{}, true
		}
		h := newHealth(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		synctest.Wait()
		start := time.Now()
		w.setDatabase(errors.New("away"))
		time.Sleep(monitor.DefaultEvery + 500*time.Millisecond) // between two questions
		w.setDatabase(nil)
		time.Sleep(monitor.DefaultEvery)
		if got := h.Changes(); len(got) != 2 || got[0].Status != monitor.PartOK || got[1].Part != "database" || got[1].Status != monitor.PartFailed ||
			got[1].Reason != "no answer for 1 s" || !got[1].At.Equal(start.Add(monitor.DefaultEvery)) {
			t.Errorf("changes are %+v", got)
		}
		if p := h.Report().Database; p.Since != start.Add(monitor.DefaultEvery+time.Second).UTC().Format(time.RFC3339) {
			t.Errorf("the database is well since %s", p.Since)
		}

		// Dead letters that become many in a short time are told, and those of before are not.
		for range 12 {
			open.Add(1)
			time.Sleep(monitor.DefaultEvery)
		}
		if p := h.Report().DeadLetters; p.Status != monitor.PartDegraded || !p.OK || !strings.Contains(p.Advice, "dead-letters causes") {
			t.Errorf("with 12 more dead letters: %+v", p)
		}
		time.Sleep(15 * time.Minute)
		if p := h.Report().DeadLetters; p.Status != monitor.PartOK {
			t.Errorf("15 minutes later: %+v", p)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
