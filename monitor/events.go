package monitor

import (
	"fmt"
	"time"
)

// EventsState describes what listens to events of the platform.
type EventsState struct {
	Channels  []string // none: the worker makes no mails of events
	Listening bool
	Since     time.Time // of Listening
	Reason    string    // why it does not listen, in words that all may read; "": not known
	Waiting   int       // events that were heard and are no tasks yet

	Queued, Known, Refused, Dropped int64

	// GapFrom and GapTo are the last period in which no worker has listened; zero: none is
	// known. Found says that this process has found it, and tells of it.
	GapFrom, GapTo time.Time
	Gaps           int64 // of all workers, as far back as Redis remembers
	Found          bool
}

const (
	// eventsPatience is how long a worker may not listen until its health tells of it.
	eventsPatience = 10 * time.Second
	// gapTold is how long the health tells of a gap.
	gapTold = time.Hour
)

// eventsPart tells whether events are heard. It decides neither the readiness nor the status of
// the worker: tasks do not need it.
func (b *brokerHealth) eventsPart(now time.Time) Part {
	if b.cfg.Events == nil {
		return newPart(State{OK: true, Text: "not used"})
	}
	s := b.cfg.Events()
	if len(s.Channels) == 0 {
		return newPart(State{OK: true, Text: "not used"})
	}
	away := now.Sub(s.Since)
	if !s.Listening && away >= eventsPatience {
		text := fmt.Sprintf("not listening for %s; events meanwhile are lost unless another worker hears them", span(away))
		if s.Reason != "" {
			text += ": " + s.Reason
		}
		p := newPart(State{Text: text}).from(s.Since)
		p.addEvents(&s)
		return p.advised("look at the connection to Redis, and at the channels of its user (docs/events.md)")
	}
	text := "not listening yet"
	if s.Listening {
		text = fmt.Sprintf("listening for %s; became tasks: %d, made by others: %d, refused: %d, dropped: %d", span(away), s.Queued, s.Known, s.Refused, s.Dropped)
	}
	p := newPart(State{OK: true, Text: text})
	p.addEvents(&s)
	if s.Found && now.Sub(s.GapTo) < gapTold {
		lost := fmt.Sprintf("no worker has listened from %s to %s (%s); events in between are lost",
			s.GapFrom.UTC().Format("15:04:05"), s.GapTo.UTC().Format("15:04:05 UTC"), span(s.GapTo.Sub(s.GapFrom)))
		return p.degraded(lost, "mails of tasks are sent all the same; publish the events of that time again if producers send no tasks").from(s.GapTo)
	}
	return p
}

// addEvents adds the details of s.
func (p *Part) addEvents(s *EventsState) {
	for _, c := range s.Channels {
		p.check(c, p.Status, "heard")
	}
	p.check("waiting", statusOf(s.Waiting == 0 || s.Listening, PartDegraded), fmt.Sprintf("events that are no tasks yet: %d", s.Waiting))
	p.check("dropped", statusOf(s.Dropped == 0, PartDegraded), fmt.Sprintf("events that were heard and dropped: %d", s.Dropped))
	if s.Gaps > 0 {
		p.check("gaps", PartOK, fmt.Sprintf("times in which no worker has listened: %d; the last one ended %s", s.Gaps, s.GapTo.UTC().Format(time.RFC3339)))
	}
}
