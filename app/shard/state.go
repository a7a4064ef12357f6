package shard

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker"
)

// Words returns one line about the workers, for supervisors.
func (all Set) Words() string {
	var words []string
	for _, s := range all {
		text := workerWords(s.Worker.Status())
		if s.Name != "" {
			text = s.Name + " " + text
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}

// workerWords returns one line about the worker, for supervisors.
func workerWords(s worker.Status) string {
	if !s.Consuming {
		return fmt.Sprintf("%s, not consuming: %s", s.State, cmp.Or(s.Fault, "no look into the queues yet"))
	}
	return fmt.Sprintf("%s: %d of %d slots taken, %d succeeded, %d failed, %d dead letters",
		s.State, s.Running, s.Concurrency, s.Succeeded, s.Failed, s.DeadLettered)
}

func workerState(s worker.Status) monitor.WorkerState {
	return monitor.WorkerState{
		Node: s.Node, State: s.State.String(), Consuming: s.Consuming, LastLook: s.LastLook, Refusal: s.Refusal, Faults: s.Faults,
		Concurrency: s.Concurrency, MinConcurrency: s.Autoscale.Min, MaxConcurrency: s.Autoscale.Max, Running: s.Running, Waiting: s.Reserved + s.Scheduled,
		LeftBehind: s.Aborted, Received: s.Received, Succeeded: s.Succeeded, Failed: s.Failed, Retried: s.Retried,
		Revoked: s.Revoked, DeadLetters: s.DeadLettered,
	}
}

// ledgerState returns the state of the history for the health server. off tells why there is
// none.
func ledgerState(w *ledger.Writer, off string) monitor.LedgerState {
	if w == nil {
		return monitor.LedgerState{Off: true, Reason: off}
	}
	s := w.Status()
	return monitor.LedgerState{
		Writing: s.On, Reason: s.Reason, Since: s.Since,
		Unknown: !s.Looked, Waiting: int64(s.Waiting), Lag: s.Lag, Dropped: s.Dropped,
		Written: s.Written, Skipped: s.Skipped, Discarded: s.Discarded, Stray: s.Stray,
	}
}
