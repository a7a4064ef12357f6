package monitor

import (
	"cmp"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
)

// QueuesState describes the consumed queues, as they were seen last.
type QueuesState struct {
	At      time.Time // when they were looked at; zero: never
	Fault   bool      // a later look got no answer: what follows may have changed
	Queues  []QueueState
	Unacked int    // claimed and not settled, by all workers; -1: not known
	Server  string // where the queues are, when others name the server; "": its address is fixed
	Refusal string // the reply of a Redis that can be read and refuses writes; "": it takes them
	Remedy  string // the cause of Refusal in a clause, and what to do; "": not known
}

// QueueState describes one queue.
type QueueState struct {
	Name   string
	Depths []PriorityDepth // of the priorities that the broker keeps apart
	Oldest time.Duration   // age of the oldest waiting message; 0: none, or not known
	Paused bool            // by an operator: workers of this kind take nothing from it
}

// PriorityDepth is the number of waiting messages of one priority.
type PriorityDepth struct {
	Priority, Messages int
}

// depth returns the number of waiting messages.
func (q *QueueState) depth() (n int) {
	for _, d := range q.Depths {
		n += d.Messages
	}
	return n
}

// text describes a queue in words.
func (q *QueueState) text() string {
	n, paused := q.depth(), ""
	if q.Paused {
		paused = "paused, "
	}
	if n == 0 {
		return paused + "empty"
	}
	text := paused + fmt.Sprintf("%d waiting", n)
	if len(q.Depths) > 1 || q.Depths[0].Priority != 0 {
		var each []string
		for _, d := range q.Depths {
			if d.Messages > 0 {
				each = append(each, fmt.Sprintf("priority %d: %d", d.Priority, d.Messages))
			}
		}
		text += " (" + strings.Join(each, ", ") + ")"
	}
	if q.Oldest > 0 {
		text += ", the oldest for " + span(q.Oldest)
	}
	return text
}

const (
	// longWait is the age of the oldest message from which a queue counts as behind. A
	// code is valid for minutes.
	longWait = time.Minute
	// staleQueues is the age of a look at the queues from which it tells nothing.
	staleQueues = time.Minute
)

// refused returns the state of the worker, which does not consume while the last look at the queues
// tells that Redis refuses writes. A worker whose tasks are held does not know: it reads the queues
// and writes nothing.
func (c *BrokerConfig) refused(now func() time.Time) func() WorkerState {
	worker, queues := c.Worker, c.Queues
	if queues == nil {
		return worker
	}
	return func() WorkerState {
		w := worker()
		if s := queues(); w.Consuming && s.Refusal != "" && !s.Fault && now().Sub(s.At) <= staleQueues {
			w.Consuming, w.Refusal = false, s.Refusal
		}
		return w
	}
}

// queuePart tells whether messages are taken from the queues, and how many wait.
func (b *brokerHealth) queuePart(w WorkerState, now time.Time) Part {
	var s QueuesState
	if b.cfg.Queues != nil {
		s = b.cfg.Queues()
	}
	p := newPart(queueState(w, now)).answered(w.LastLook, now)
	switch {
	case w.Consuming:
	case w.Refusal != "":
		remedy := "correct what Redis says"
		if s.Remedy != "" {
			remedy = s.Remedy
		}
		p = p.advised(remedy + ". Messages stay in their queues, and the worker tries again within a second")
	case w.Waits != "" || w.State == "new" || w.State == "stopping":
		p = p.degraded(p.Text, "")
	case w.State == "stopped":
		p = p.advised("start the process again; its supervisor should")
	default:
		p = p.advised("see that Redis answers at REDIS_URL; the command doctor examines it. Messages stay in their queues, and the worker tries again within a second")
	}
	if b.cfg.Queues == nil {
		p.check("claims", p.Status, p.Text)
		return p
	}
	if w.Consuming {
		p.Text = s.consuming()
	}
	p.check("claims", p.Status, p.Text)
	switch {
	case s.At.IsZero():
		p.check("depth", statusOf(p.OK, PartDegraded), "not known")
		return p
	case s.Fault || now.Sub(s.At) > staleQueues:
		p.check("depth", PartDegraded, "not known; the last look at the queues that was answered is "+span(now.Sub(s.At))+" old")
		return p
	}
	p.add(s)
	return p
}

// consuming tells from which queues messages are taken.
func (s *QueuesState) consuming() string {
	var paused []string
	for _, q := range s.Queues {
		if q.Paused {
			paused = append(paused, q.Name)
		}
	}
	sort.Strings(paused)
	switch {
	case len(paused) == 0:
		return "consuming"
	case len(paused) == len(s.Queues):
		return "paused by an operator: nothing is taken from " + strings.Join(paused, ", ")
	}
	return "consuming, but paused by an operator: " + strings.Join(paused, ", ")
}

// add adds the checks of the queues. A queue that is behind degrades the part.
func (p *Part) add(s QueuesState) {
	if s.Server != "" {
		p.check("server", PartOK, s.Server)
	}
	sorting.By(s.Queues, func(a, b QueueState) int { return cmp.Compare(a.Name, b.Name) })
	for _, q := range s.Queues {
		behind := q.Oldest > longWait
		p.check("queue "+q.Name, statusOf(!behind && !q.Paused, PartDegraded), q.text())
		switch {
		case p.Status != PartOK:
		case q.Paused:
			*p = p.degraded(fmt.Sprintf("queue %s is paused by an operator", q.Name), "resume it when the reason is gone; the audit trail has its name")
		case behind:
			*p = p.degraded(fmt.Sprintf("queue %s is behind: %s", q.Name, q.text()), "start more workers, or see what their slots wait for: /health/mail, /health/database, /health/held")
		}
	}
	if s.Unacked >= 0 {
		p.check("unacked", PartOK, fmt.Sprintf("%d messages claimed and not settled, by all workers", s.Unacked))
	}
}

func queueState(w WorkerState, now time.Time) State {
	switch {
	case w.Consuming:
		return State{OK: true, Text: "consuming"}
	case w.Waits != "":
		return State{Text: "not consuming: " + w.Waits}
	case w.State != "running":
		return State{Text: "not consuming: the worker is " + w.State}
	}
	if w.Refusal != "" {
		return State{Text: "not consuming: Redis refuses: " + w.Refusal}
	}
	return State{Text: "no answer for " + span(now.Sub(w.LastLook))}
}
