package attention_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/monitor/attention"
)

var now = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

// fine are facts in which nothing needs attention.
func fine() attention.Facts {
	return attention.Facts{
		Now:     now,
		Queues:  []attention.Queue{{Name: "email_notifications", Messages: 3, Oldest: 2 * time.Second, Consumers: 2}},
		Codes:   attention.Codes{Waiting: 2 * time.Second, Number: 1, Ended: 1000, InTime: 999, Objective: 0.99},
		Letters: attention.Letters{Known: true, Open: 4}, Failures: []attention.Failure{{Class: "greylisted", N: 9}},
		WorkersKnown: true,
		Workers: []attention.Worker{
			{Node: "email-worker@a", Process: "1", Status: "healthy", VisibilityTimeout: time.Hour},
			{Node: "email-worker@b", Process: "2", Status: "degraded", VisibilityTimeout: time.Hour, Skew: -time.Second},
			{Node: "celery@c", Process: "77", Python: true},
		},
		History: attention.History{Fleet: true},
		Secrets: []attention.Secret{{Variable: "SMTP_PASSWORD", Since: now.AddDate(0, -3, 0)}, {Variable: "AUDIT_KEY"}},
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	type facts = attention.Facts
	for name, test := range map[string]struct {
		change func(f *facts)
		rule   string // "": nothing is found
		level  attention.Level
		text   string // a part of it
		advice string // the same
		link   string
		since  time.Time
	}{
		"nothing": {change: func(*facts) {}},
		"redis away": {
			change: func(f *facts) { f.QueueFault = "no answer"; f.Workers, f.Queues = nil, nil },
			rule:   "queues", level: attention.Urgent, text: "Redis cannot be asked: no answer.", link: "/health",
		},
		"redis wants a login": {
			change: func(f *facts) { f.QueueFault, f.Remedy = "NOAUTH.", "it wants a login: set REDIS_PASSWORD" },
			rule:   "queues", level: attention.Urgent, text: "Redis cannot be asked: NOAUTH", advice: "It wants a login: set REDIS_PASSWORD.", link: "/health",
		},
		"redis takes no writes": {
			change: func(f *facts) {
				f.Refusal, f.Remedy = "OOM command not allowed when used memory > 'maxmemory'.", "it is full: raise maxmemory"
			},
			rule: "writes", level: attention.Urgent, text: "Redis refuses writes, so that no task can be sent, taken or settled: OOM command not allowed when used memory > 'maxmemory'.", link: "/queues",
		},
		"no worker": {
			change: func(f *facts) { f.Workers = nil; f.Queues[0].Oldest = 12 * time.Second },
			rule:   "no-worker", level: attention.Urgent, text: "No worker runs, and 3 messages wait in the queues, the oldest for 12 s.", link: "/workers",
		},
		"no worker and no work": {
			change: func(f *facts) { f.Workers = nil; f.Queues[0].Messages = 0 },
			rule:   "no-worker", level: attention.Warning, text: "Nothing waits yet.",
		},
		"workers are not known": {change: func(f *facts) { f.Workers, f.WorkersKnown = nil, false }},
		"a queue without a consumer": {
			change: func(f *facts) {
				f.Queues = append(f.Queues, attention.Queue{Name: "a/b", Messages: 1, Oldest: 5 * time.Minute})
			},
			rule: "no-worker", level: attention.Urgent, text: "No worker consumes the queue a/b, and 1 message waits in it, the oldest for 5 min.", link: "/queues/a%2Fb",
		},
		"a queue whose consumers are not known": {
			change: func(f *facts) { f.Queues = append(f.Queues, attention.Queue{Name: "x", Messages: 1, Consumers: -1}) },
		},
		"a code within its time": {change: func(f *facts) { f.Codes.Waiting = attention.CodeLimit }},
		"a code waits": {
			change: func(f *facts) { f.Codes.Waiting = 11 * time.Second },
			rule:   "code-waits", level: attention.Urgent, text: "A code is not accepted after 11 s; the objective is 10 s.", link: "/deliveries?q=kind:otp", since: now.Add(-11 * time.Second),
		},
		"codes wait": {
			change: func(f *facts) { f.Codes.Waiting, f.Codes.Number = 3*time.Minute, 7 },
			rule:   "code-waits", level: attention.Urgent, text: "7 codes are not accepted yet, the oldest after 3 min",
		},
		"rights are missing": {
			change: func(f *facts) {
				f.Breakers = []attention.Breaker{{Name: "database", Phase: "open", Refused: true, Reason: "permission denied for table users (42501); run GRANT SELECT ON users", Nodes: []string{"a"}}}
			},
			rule: "refused", level: attention.Urgent, text: "The database cannot be used by a: permission denied for table users (42501); run GRANT SELECT ON users.", advice: "rights", link: "/health",
		},
		"login refused": {
			change: func(f *facts) {
				f.Breakers = []attention.Breaker{{Name: "relay r:587", Phase: "open", Refused: true, Reason: "535 5.7.8 at AUTH.", Since: now.Add(-time.Hour), Nodes: []string{"a", "b"}}}
			},
			rule: "refused", level: attention.Urgent, text: "The relay r:587 cannot be used by a and 1 more: 535 5.7.8 at AUTH.", advice: "login", link: "/health", since: now.Add(-time.Hour),
		},
		"relay away": {
			change: func(f *facts) {
				f.Breakers = []attention.Breaker{{Name: "relay r:587", Phase: "probing", Nodes: []string{"a"}}}
			},
			rule: "breaker", level: attention.Urgent, text: "The relay r:587 takes no mails of a: no reason is known.",
		},
		"database away": {
			change: func(f *facts) {
				f.Breakers = []attention.Breaker{{Name: "database", Phase: "open", Reason: "connection refused"}}
			},
			rule: "breaker", level: attention.Urgent, text: "The database does not answer the workers: connection refused.",
		},
		"tried again": {
			change: func(f *facts) { f.Breakers = []attention.Breaker{{Name: "database", Phase: "half-open"}} },
			rule:   "breaker", level: attention.Notice, text: "is tried again after an outage",
		},
		"queue grows": {
			change: func(f *facts) { f.Queues[0].Growing, f.Queues[0].Oldest = true, time.Minute },
			rule:   "queue-late", level: attention.Warning, text: "grows: 3 messages wait, the oldest one for 60 s.", link: "/queues/email_notifications", since: now.Add(-time.Minute),
		},
		"an old message": {
			change: func(f *facts) { f.Queues[0].Oldest = 40 * time.Second },
			rule:   "queue-late", text: "A message has waited in the queue email_notifications for 40 s; 3 messages wait.", level: attention.Warning,
		},
		"broken queue": {
			change: func(f *facts) { f.Queues[0].Broken = true },
			rule:   "queue-broken", text: "wrong type", level: attention.Urgent,
		},
		"paused and empty": {
			change: func(f *facts) { f.Queues[0].Paused, f.Queues[0].Messages = true, 0; f.Queues[0].PausedBy = "ada" },
			rule:   "queue-paused", text: "The queue email_notifications is paused by ada.", level: attention.Notice,
		},
		"paused and full": {
			change: func(f *facts) { f.Queues[0].Paused, f.Queues[0].Oldest = true, time.Hour },
			rule:   "queue-paused", text: "is paused, and 3 messages wait in it, the oldest for 60 min.", level: attention.Warning,
		},
		"a fault for a person": {
			change: func(f *facts) {
				f.Workers[0].Faults = []string{"the key q is a hash"}
				f.Workers[1].Faults = f.Workers[0].Faults
			},
			rule: "faults", text: "the key q is a hash.", level: attention.Urgent,
		},
		"unhealthy": {
			change: func(f *facts) { f.Workers[0].Status = "unhealthy" },
			rule:   "unhealthy", text: "The worker email-worker@a does not consume.", level: attention.Urgent,
		},
		"a degraded part": {
			change: func(f *facts) {
				f.Workers[0].Status = "degraded"
				f.Workers[0].Parts = []attention.Part{{Name: "database", Text: "no answer for 7 s", Advice: "see whether it runs"}, {Name: "history"}}
			},
			rule: "part", text: "The worker email-worker@a is degraded, database: no answer for 7 s.", level: attention.Warning,
		},
		"a part whose breaker is open": {
			change: func(f *facts) {
				f.Workers[0].Parts = []attention.Part{{Name: "mail", Text: "no mail gets out"}}
				f.Breakers = []attention.Breaker{{Name: "relay r:587", Phase: "open"}}
			},
			rule: "breaker", text: "The relay r:587 takes no mails", level: attention.Urgent,
		},
		"objective missed": {
			change: func(f *facts) { f.Codes.InTime, f.Codes.Expired = 985, 3 },
			rule:   "codes", text: "98.5 % of 1000 codes were accepted within 10 s; the objective is 99 %, and 3 expired unsent.", level: attention.Warning,
		},
		"too few codes to say": {change: func(f *facts) { f.Codes.Ended, f.Codes.InTime = 19, 0 }},
		"letters grow": {
			change: func(f *facts) { f.Letters.Grown, f.Letters.GrownIn = 2, 10*time.Minute },
			rule:   "letters", text: "Dead letters grow: 2 more in the last 10 min, 4 open.", level: attention.Warning, link: "/dead-letters",
		},
		"letters lost": {
			change: func(f *facts) { f.Letters.Lost = 1 },
			rule:   "letters-lost", text: "1 dead letter was lost", level: attention.Warning,
		},
		"tasks fail": {
			change: func(f *facts) { f.Outcomes = attention.Outcomes{Ended: 1200, Failed: 60, Over: 5 * time.Minute} },
			rule:   "failures", text: "60 of 1,200 tasks failed in the last 5 min.", level: attention.Warning, link: "/tasks?state=FAILURE",
		},
		"few tasks fail": {change: func(f *facts) { f.Outcomes = attention.Outcomes{Ended: 1200, Failed: 59, Over: 5 * time.Minute} }},
		"two tasks fail": {change: func(f *facts) { f.Outcomes = attention.Outcomes{Ended: 2, Failed: 2, Over: 5 * time.Minute} }},
		"tasks fail into dead letters": {
			change: func(f *facts) {
				f.Outcomes, f.Letters.Grown, f.Letters.GrownIn = attention.Outcomes{Ended: 50, Failed: 50, Over: 5 * time.Minute}, 50, 10*time.Minute
			},
			rule: "letters", text: "Dead letters grow: 50 more", level: attention.Warning,
		},
		"reputation": {
			change: func(f *facts) { f.Failures = append(f.Failures, attention.Failure{Class: "reputation", N: 3}) },
			rule:   "reputation", text: "3 replies of the last hour about our reputation", level: attention.Warning,
		},
		"a lost worker": {
			change: func(f *facts) { f.Lost = []attention.Lost{{Node: "email-worker@x", Silent: time.Minute}} },
			rule:   "lost", text: "The worker email-worker@x is silent, and has not said that it stops.", level: attention.Warning, link: "/workers", since: now.Add(-time.Minute),
		},
		"a lost worker of Python": {
			change: func(f *facts) {
				f.Lost = []attention.Lost{{Node: "celery@x", Python: true, Silent: time.Minute, Active: 2}}
			},
			rule: "lost", text: "has not said that it stops. It ran 2 tasks.", level: attention.Warning,
		},
		"many lost workers": {
			change: func(f *facts) {
				for i := range 100 {
					f.Lost = append(f.Lost, attention.Lost{Node: fmt.Sprintf("w%d@x", i), Silent: time.Minute})
				}
			},
			rule: "lost", text: "100 workers are silent, and have not said that they stop: w0@x, w1@x, w2@x, w3@x, w4@x and 95 more.", level: attention.Warning,
		},
		"a worker that was lost long ago": {change: func(f *facts) { f.Lost = []attention.Lost{{Node: "email-worker@x", Silent: time.Hour}} }},
		"silence while Redis is unavailable": {
			change: func(f *facts) {
				f.QueueFault, f.Lost = "connection refused", []attention.Lost{{Node: "email-worker@x", Silent: time.Minute}}
			},
			rule: "queues", text: "Redis cannot be asked", level: attention.Urgent,
		},
		"two of one name": {
			change: func(f *facts) { f.Workers[1].Node = "email-worker@a" },
			rule:   "same-node", text: "2 workers have the node name email-worker@a", level: attention.Urgent, link: "/workers",
		},
		"shorter visibility": {
			change: func(f *facts) { f.Workers[1].VisibilityTimeout = 5 * time.Minute },
			rule:   "visibility", text: "The worker email-worker@b has a visibility timeout of 5 min, shorter than the 60 min of email-worker@a", level: attention.Urgent,
		},
		"clock behind": {
			change: func(f *facts) { f.Workers[2].Skew = -90 * time.Second },
			rule:   "clock", text: "The clock of celery@c is 90 s behind that of this monitor.", level: attention.Warning,
		},
		"clock ahead": {
			change: func(f *facts) { f.Workers[2].Skew = 8 * time.Second },
			rule:   "clock", text: "8 s ahead of", level: attention.Warning,
		},
		"history off": {
			change: func(f *facts) { f.History.Off = true },
			rule:   "history", text: "No history of mails is kept", level: attention.Notice,
		},
		"history behind": {
			change: func(f *facts) { f.History.Fault, f.History.Since = "history is behind", now.Add(-time.Minute) },
			rule:   "history", text: "is not up to date: history is behind.", level: attention.Warning, since: now.Add(-time.Minute),
		},
		"history not for us": {
			change: func(f *facts) { f.History.Absent = true },
			rule:   "history", text: "This monitor cannot read", level: attention.Notice,
		},
		"workers differ": {
			change: func(f *facts) { f.Differences = []string{"A", "B", "C", "D", "E", "F", "G"} },
			rule:   "configuration", text: "The workers differ in A, B, C, D, E and 2 more.", level: attention.Notice, link: "/configuration",
		},
		"an old secret": {
			change: func(f *facts) { f.Secrets[0].Since = now.AddDate(-2, 0, 0) },
			rule:   "secret", text: "SMTP_PASSWORD has not changed for 730 days.", level: attention.Notice,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fine()
			test.change(&f)
			got := attention.Look(f)
			if test.rule == "" {
				if len(got) > 0 {
					t.Errorf("found %+v", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("found %+v, want one", got)
			}
			g := got[0]
			if g.Rule != test.rule || g.Level != test.level || !strings.Contains(g.Text, test.text) || !strings.Contains(g.Advice, test.advice) || !strings.HasPrefix(g.Link, test.link) || !test.since.IsZero() && !g.Since.Equal(test.since) {
				t.Errorf("found %+v\nwant  %+v", g, test)
			}
			if !strings.HasSuffix(g.Text, ".") || !strings.HasPrefix(g.Link, "/") || g.Advice != "" && !strings.HasSuffix(g.Advice, ".") {
				t.Errorf("no sentence, or no page: %+v", g)
			}
			if strings.Contains(g.Text+" "+g.Advice, "..") {
				t.Errorf("two dots: %+v", g)
			}
			if strings.Contains(g.Text+g.Advice, "password") {
				t.Errorf("a password is blamed, which may be right: %+v", g)
			}
		})
	}
}

// A finding keeps the time of its beginning while it is gone for moments only.
func TestWatcher(t *testing.T) {
	t.Parallel()
	var w attention.Watcher
	at := func(after time.Duration, differ, paused bool) []attention.Finding {
		f := fine()
		f.Now = now.Add(after)
		if differ {
			f.Differences = []string{"QUEUES"}
		}
		f.Queues[0].Paused = paused
		f.Queues[0].Since = now.Add(-time.Hour)
		return w.Look(f)
	}
	for i, step := range []struct {
		after          time.Duration
		differ, paused bool
		want           []string
	}{
		{0, true, false, []string{"configuration 0s"}},
		{10 * time.Second, true, false, []string{"configuration 0s"}},
		{20 * time.Second, false, false, nil},
		{50 * time.Second, true, true, []string{"queue-paused -1h0m0s", "configuration 0s"}},
		{60 * time.Second, false, false, nil},
		{130 * time.Second, false, false, nil},
		{140 * time.Second, true, false, []string{"configuration 2m20s"}},
	} {
		var got []string
		for _, f := range at(step.after, step.differ, step.paused) {
			got = append(got, f.Rule+" "+f.Since.Sub(now).String())
		}
		if strings.Join(got, ", ") != strings.Join(step.want, ", ") {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}

func TestPercent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		part, whole int64
		want        string
	}{{0, 0, "–"}, {0, 3, "0 %"}, {99999, 100000, "99.9 %"}, {5, 5, "100 %"}, {1, 2, "50 %"}, {995, 1000, "99.5 %"}} {
		if got := attention.Percent(test.part, test.whole); got != test.want {
			t.Errorf("Percent(%d, %d) = %q, want %q", test.part, test.whole, got, test.want)
		}
	}
}
