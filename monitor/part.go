package monitor

import (
	"sync"
	"time"
)

// Values of Part.Status and Check.Status.
const (
	PartOK       = "ok"
	PartDegraded = "degraded" // it works, but not for all, not fast enough or not for long
	PartFailed   = "failed"   // it does not work
)

// Part is one part of a [Report]. OK of its State decides the HTTP status of its page; Status
// tells more, and may be degraded while OK is true.
type Part struct {
	State
	Status     string   `json:"status"`                // PartOK, PartDegraded or PartFailed
	Reason     string   `json:"reason,omitempty"`      // why Status is not PartOK
	Advice     string   `json:"advice,omitempty"`      // what to do about it
	Since      string   `json:"since,omitempty"`       // of Status, RFC 3339, UTC
	AgeSeconds *float64 `json:"age_seconds,omitempty"` // of the last answer that Status follows from
	Checks     []Check  `json:"checks"`
}

// Check is a detail of a [Part].
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Text   string `json:"text"`
}

// notAsked is the text of a part of which nothing is known yet.
const notAsked = "not asked yet"

// unasked returns a part that was not asked yet. It is neither well nor in trouble.
func unasked() Part {
	p := newPart(State{Text: notAsked})
	return p.degraded(p.Text, "")
}

// Unasked reports whether a part was not asked yet, as for a moment after the start.
func (s State) Unasked() bool { return s.Text == notAsked }

// newPart returns a part that is ok or failed, as s says.
func newPart(s State) Part {
	p := Part{State: s, Status: PartOK, Checks: []Check{}}
	if !s.OK {
		p.Status, p.Reason = PartFailed, s.Text
	}
	return p
}

// degraded returns the part as one that works in part, with what to do about it.
func (p Part) degraded(reason, advice string) Part {
	p.Status, p.Reason, p.Advice = PartDegraded, reason, advice
	return p
}

// advised returns the part with what to do, unless it is ok or says it already.
func (p Part) advised(advice string) Part {
	if p.Status != PartOK && p.Advice == "" {
		p.Advice = advice
	}
	return p
}

// from returns the part with the time of its status; zero: the one that the server saw.
func (p Part) from(since time.Time) Part {
	if !since.IsZero() {
		p.Since = since.UTC().Format(time.RFC3339)
	}
	return p
}

// answered returns the part with the age of the last answer; zero: there was none.
func (p Part) answered(at, now time.Time) Part {
	if !at.IsZero() {
		age := max(0, now.Sub(at).Round(time.Millisecond).Seconds())
		p.AgeSeconds = &age
	}
	return p
}

// check adds a check that is ok or has the given status.
func (p *Part) check(name, status, text string) {
	p.Checks = append(p.Checks, Check{Name: name, Status: status, Text: text})
}

// statusOf returns PartOK, or otherwise if ok is false.
func statusOf(ok bool, otherwise string) string {
	if ok {
		return PartOK
	}
	return otherwise
}

// Change is a change of the status of a part.
type Change struct {
	At     time.Time `json:"at"`
	Part   string    `json:"part"`
	Status string    `json:"status"`
	Reason string    `json:"reason,omitempty"`
}

// keptChanges is the number of changes that the server remembers.
const keptChanges = 500

// changes remembers the status of each part, and since when it has it.
type changes struct {
	mu     sync.Mutex
	parts  map[string]Change
	latest []Change // the oldest first
}

// note records the status of a part, and sets its Since unless the part knows it. The first answer
// of a part that was not asked before is no change.
func (c *changes) note(name string, p *Part, now time.Time) {
	if p.Unasked() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.parts[name]
	if !known || before.Status != p.Status {
		before = Change{At: now, Part: name, Status: p.Status, Reason: p.Reason}
		if c.parts == nil {
			c.parts = map[string]Change{}
		}
		c.parts[name] = before
		if known || p.Status != PartOK {
			c.latest = append(c.latest[max(0, len(c.latest)-keptChanges+1):], before)
		}
	}
	if p.Since == "" {
		*p = p.from(before.At)
	}
}

// list returns the changes, the latest first.
func (c *changes) list() []Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Change, 0, len(c.latest))
	for i := len(c.latest) - 1; i >= 0; i-- {
		all = append(all, c.latest[i])
	}
	return all
}

// growth remembers a number that should not grow.
type growth struct {
	mu      sync.Mutex
	samples []sample
}

type sample struct {
	at    time.Time
	value int
}

// growthPeriod is the time over which growth is looked at.
const growthPeriod = 10 * time.Minute

// note records a value and returns by how much it is above the one of growthPeriod ago, or
// the first one since then.
func (g *growth) note(value int, now time.Time) (grown int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.samples) > 1 && now.Sub(g.samples[1].at) >= growthPeriod {
		g.samples = g.samples[1:]
	}
	if n := len(g.samples); n == 0 || g.samples[n-1].value != value || now.Sub(g.samples[n-1].at) >= growthPeriod/10 {
		g.samples = append(g.samples, sample{now, value})
	}
	return value - g.samples[0].value
}
