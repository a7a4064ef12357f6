package overview

import (
	"testing"

	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/web"
)

// A class such as "address" does not say what has failed.
func TestWordsOfFailures(t *testing.T) {
	t.Parallel()
	v := viewOf(&summary.Summary{Failures: []summary.Failure{{Class: "bad_address", N: 4}, {Class: "address", N: 3}, {Class: "mailbox_full", N: 1}}})
	for i, want := range []bar{{Class: "bad address", Words: "no such mailbox", N: 4}, {Class: "address", Words: "recipient refused", N: 3}, {Class: "mailbox full", N: 1}} {
		if got := v.Failures[i]; got.Class != want.Class || got.Words != want.Words || got.N != want.N {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// While Redis is unavailable nothing that it told before looks like news.
func TestOverviewWithoutRedis(t *testing.T) {
	t.Parallel()
	s := &summary.Summary{
		Queues:   summary.Queues{Known: true, Messages: 3, All: []summary.Queue{{Name: "mails", Messages: 3}}},
		Rates:    summary.Rates{Known: true, Received: 2},
		Latency:  summary.Latency{Known: true, P95: 2},
		Workers:  []summary.Worker{{Node: "w@h", Status: "healthy"}},
		Breakers: []summary.Breaker{{Name: "database", Phase: "closed"}},
	}
	known := func() (all []string) {
		v := viewOf(s)
		for _, tile := range v.Now {
			if (tile.Label == "Received" || tile.Label == "Run time, p95" || tile.Label == "Waiting in queues" || tile.Label == "Workers") && tile.Value != "–" {
				all = append(all, tile.Label)
			}
		}
		if v.NoQueues == "" {
			all = append(all, "queues")
		}
		if v.Workers[0].State.Tone == web.Good {
			all = append(all, "state of workers")
		}
		if v.Lamps[0].Tone == web.Good {
			all = append(all, "breakers")
		}
		return all
	}
	if got := known(); len(got) != 7 {
		t.Errorf("with Redis only %q are known", got)
	}
	s = &summary.Summary{
		Queues:   summary.Queues{Fault: "connection refused", All: s.Queues.All},
		Workers:  []summary.Worker{{Node: "w@h", Status: summary.NotKnown}},
		Breakers: []summary.Breaker{{Name: "database", Phase: summary.NotKnown}},
	}
	if got := known(); len(got) != 0 {
		t.Errorf("without Redis %q are shown", got)
	}
}
