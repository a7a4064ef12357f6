package app

import (
	"context"
	"strings"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// observer counts the ends of mails for /metrics.
type observer struct {
	counts *monitor.Mails
	runs   *monitor.Runs
}

// Ended implements [tasks.Observer].
func (o *observer) Ended(e tasks.Ended) {
	m := monitor.MailOutcome{Kind: e.Kind, State: e.State.String(), Class: e.Class, Final: e.Final, Code: e.Code, Whole: e.Whole}
	t := e.Times
	for _, p := range []monitor.MailPhase{
		{Name: "wait", Took: t.Wait}, {Name: "connect", Took: t.Connect}, {Name: "mail", Took: t.Mail}, {Name: "rcpt", Took: t.Rcpt},
		{Name: "data", Took: t.Data}, {Name: "guard", Took: t.Guard}, {Name: "final", Took: t.Final},
	} {
		if p.Took > 0 {
			m.Phases = append(m.Phases, p)
		}
	}
	o.counts.Ended(m)
}

// Limited implements [tasks.Observer].
func (o *observer) Limited(limit string, pause time.Duration) { o.counts.Limited(limit, pause) }

// Unchecked implements [tasks.Observer].
func (o *observer) Unchecked() { o.counts.Unchecked() }

// Panicked implements [tasks.Observer].
func (o *observer) Panicked() { o.runs.Panicked() }

// countRuns counts the runs of tasks.
func countRuns(runs *monitor.Runs) worker.Middleware {
	return func(next worker.Handler) worker.Handler {
		return worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (result any, err error) {
			began, returned := time.Now(), false
			defer func() {
				if !returned { // it ends its goroutine, or panics and is stopped by the worker
					runs.Ended(t.Name, "failed", time.Since(began))
					runs.Panicked()
				}
			}()
			result, err = next.Run(ctx, t)
			returned = true
			runs.Ended(t.Name, outcomeOf(worker.StateAfter(ctx, t, err)), time.Since(began))
			return result, err
		})
	}
}

// outcomeOf returns the word of metrics for a state.
func outcomeOf(state string) string {
	switch state {
	case protocol.StateSuccess:
		return "succeeded"
	case protocol.StateFailure:
		return "failed"
	case protocol.StateRetry:
		return "retried"
	case "":
		return "returned" // to its queue
	}
	return strings.ToLower(state)
}
