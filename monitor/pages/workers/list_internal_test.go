package workers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// unavailable is Redis that cannot be asked.
type unavailable struct{ Operator }

func (unavailable) Workers(context.Context) ([]inspect.Worker, error) {
	return nil, errors.New("connect to redis: connection refused")
}

// heard are the events of a silent worker.
type heard []fleet.Worker

func (h heard) Workers() []fleet.Worker { return h }

// While Redis is unavailable, the silence of workers says nothing about them.
func TestWorkersThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	r := newRoster(unavailable{}, heard{{Node: "go@h"}, {Node: "gone@h", Left: true}}, nil, time.Now)
	all := r.collect(t.Context())
	for node, want := range map[string]web.Chip{"go@h": {Text: "not known", Tone: web.Wait}, "gone@h": {Text: "stopped", Tone: web.Calm}} {
		if w, ok := all.find(node); !ok || state(w) != want {
			t.Errorf("%s: %+v, want %+v", node, state(w), want)
		}
	}
	for _, tile := range tiles(all) {
		if tile.Value != "–" || tile.Tone == web.Bad {
			t.Errorf("%+v", tile)
		}
	}
}

// answering are workers that answer, and consume a queue.
type answering struct {
	Operator
	nodes []string
}

func (a answering) Workers(context.Context) (all []inspect.Worker, err error) {
	for _, node := range a.nodes {
		all = append(all, inspect.Worker{Node: node})
	}
	return all, nil
}

func (a answering) Consumers(context.Context) (map[string][]string, int, error) {
	return map[string][]string{"mails": a.nodes}, len(a.nodes), nil
}

func (answering) Drained(context.Context, ...string) (map[string]inspect.Drained, error) {
	return nil, nil
}

// The list says what the page of health says: a worker that answers may be in trouble.
func TestHealthOfWorkers(t *testing.T) {
	t.Parallel()
	process := func(node, status string, mail bool) vitals.Process {
		return vitals.Process{Node: node, Report: monitor.Report{Status: status, Mail: monitor.Part{State: monitor.State{OK: mail, Text: "no mail gets out"}}}}
	}
	health := func() vitals.State {
		return vitals.State{Processes: []vitals.Process{
			process("well@h", monitor.StatusHealthy, true), process("ill@h", monitor.StatusDegraded, false), process("gone@h", monitor.StatusDegraded, false),
			process("two@h", monitor.StatusUnhealthy, false), process("two@h", monitor.StatusDegraded, true),
		}}
	}
	all := newRoster(answering{nodes: []string{"well@h", "ill@h", "two@h", "python@h"}}, heard{{Node: "gone@h"}}, health, time.Now).collect(t.Context())
	for node, want := range map[string]row{
		"well@h": {State: web.Chip{Text: "online", Tone: web.Good}}, "python@h": {State: web.Chip{Text: "online", Tone: web.Good}},
		"ill@h": {State: web.Chip{Text: "degraded", Tone: web.Wait}, Trouble: "mail"}, "two@h": {State: web.Chip{Text: "unhealthy", Tone: web.Bad}, Trouble: "mail"},
		"gone@h": {State: web.Chip{Text: "lost", Tone: web.Bad}},
	} {
		w, ok := all.find(node)
		if got := newRow(w); !ok || got.State != want.State || got.Trouble != want.Trouble {
			t.Errorf("%s: %+v, %q, want %+v, %q", node, got.State, got.Trouble, want.State, want.Trouble)
		}
	}
}

// A pool has the name that celery --pool knows.
func TestPoolName(t *testing.T) {
	t.Parallel()
	for of, want := range map[string]string{"celery.concurrency.prefork:TaskPool": "prefork", "goroutines": "goroutines", "": ""} {
		if got := poolName(of); got != want {
			t.Errorf("%q: %q, want %q", of, got, want)
		}
	}
}
