package breaker

import (
	"math/rand/v2"
	"time"
)

const (
	// fullAt is the number of calls at a time after which a half-open breaker closes.
	fullAt = 8
	// quietAfter closes a half-open breaker that no call has used: the probe was
	// answered.
	quietAfter = 30 * time.Second
	// freshFor is how long a success of this process outweighs the faults of others.
	freshFor = time.Second
)

// machine is the state of a breaker, without locks, clocks and I/O.
type machine struct {
	faults int
	pauses pauses

	phase  Phase
	reason string
	last   Result    // that opened it
	since  time.Time // when it opened
	next   time.Time // next probe
	begun  time.Time // last probe
	fails  int       // failed probes and trials in a row

	counts  counts
	ramp    ramp
	reach   reach
	unasked bool // until Config.First has ended, or there is another outcome

	succeeded time.Time // last success of this process
	opened    int64
	probes    int64
	unposted  bool // the share does not have the verdict yet
}

// pass is the permission for one call.
type pass struct {
	used  bool
	trial int // ramp of a call of a half-open breaker; 0: it was closed
}

func (m *machine) state() State {
	s := State{Phase: m.phase, Opened: m.opened, Probes: m.probes, Unasked: m.unasked && m.phase == Closed}
	if m.phase != Closed {
		s.Reason, s.Since, s.Refused = m.reason, m.since, m.last == Refused
	}
	if m.phase == Open || m.phase == Probing {
		s.Next = m.next
	}
	return s
}

// hasRoom reports whether enter lets a call through.
func (m *machine) hasRoom() bool {
	return m.phase == Closed || m.phase == HalfOpen && m.ramp.inFlight < m.ramp.limit
}

// enter lets a call through, or not.
func (m *machine) enter() (t pass, ok bool) {
	if !m.hasRoom() {
		return pass{}, false
	}
	if m.phase == HalfOpen {
		m.ramp.inFlight++
		return pass{trial: m.ramp.number}, true
	}
	return pass{}, true
}

// leave takes the outcome of a call. Only the first one of a pass counts.
func (m *machine) leave(t *pass, o Outcome, now time.Time) {
	if t.used {
		return
	}
	t.used = true
	m.unasked = m.unasked && o.Result == Unknown
	if o.Result == Success {
		m.succeeded = now
	}
	switch {
	case t.trial > 0 && t.trial == m.ramp.number && m.phase == HalfOpen:
		m.leaveTrial(o, now)
	case t.trial == 0 && m.phase == Closed:
		m.count(o, now)
	}
	// Other calls began before the state changed: they say nothing about it.
}

func (m *machine) leaveTrial(o Outcome, now time.Time) {
	m.ramp.inFlight--
	switch o.Result {
	case Success:
		if m.ramp.succeed(now) {
			m.close(true)
		} else if !m.ramp.told {
			m.unposted, m.ramp.told = true, true
		}
	case Fault, Throttled, Refused:
		m.fails++
		m.open(o, now)
	}
}

func (m *machine) count(o Outcome, now time.Time) {
	switch o.Result {
	case Success:
		m.counts.add(false, now)
	case Fault, Throttled, Refused:
		m.counts.add(true, now)
		if o.Result == Refused || m.counts.row >= m.faults || m.counts.half(now) {
			m.fails = 0
			m.open(o, now)
		}
	}
}

// open opens the breaker because of a fault of this process.
func (m *machine) open(o Outcome, now time.Time) {
	if m.phase == Closed {
		m.since = now
		m.opened++
	}
	m.phase, m.reason, m.last = Open, o.Reason, o.Result
	m.next = now.Add(m.pauses.pause(m.fails, m.last))
	m.reach.begin(o.Unreached, now)
	m.counts = counts{}
	m.unposted = m.last != Refused // the login of other processes may be another
}

// yield puts off the probe, because another process probes.
func (m *machine) yield(now time.Time) {
	pause := lookEvery // its verdict comes soon, or it has died and its lease ends
	if m.last == Refused {
		pause = m.pauses.pause(m.fails, m.last)
	}
	m.next = now.Add(pause)
}

// halfOpen begins to let calls through. tell posts the verdict at once; else the first call that
// succeeds does.
func (m *machine) halfOpen(now time.Time, tell bool) {
	m.phase = HalfOpen
	m.ramp.begin(now)
	m.unposted, m.ramp.told = tell, tell
}

func (m *machine) close(own bool) {
	m.phase, m.counts = Closed, counts{}
	m.unposted = own
}

// probe begins a probe of this process.
func (m *machine) probe(now time.Time) {
	m.phase, m.begun = Probing, now
	m.probes++
}

// probed takes the outcome of a probe.
func (m *machine) probed(o Outcome, now time.Time) {
	switch o.Result {
	case Success:
		// A server that throttles or refuses calls may answer probes nevertheless. Then the
		// calls of the other processes would not find out more than one of this process.
		m.halfOpen(now, m.last == Fault)
	case Unknown: // it was cut off
		m.phase = Open
		m.next = now.Add(m.pauses.fault)
	default:
		m.fails++
		m.open(o, now)
		// The pause begins with the probe, which may have hung for long.
		if next := m.next.Add(m.begun.Sub(now)); next.After(now.Add(m.pauses.fault)) {
			m.next = next
		} else {
			m.next = now.Add(m.pauses.fault)
		}
	}
}

// rest closes a half-open breaker that no call has used for a while.
func (m *machine) rest(now time.Time) {
	if m.phase == HalfOpen && !now.Before(m.ramp.used.Add(quietAfter)) {
		m.close(true)
	}
}

// due returns when the state changes by itself; the zero time: it does not.
func (m *machine) due() time.Time {
	switch m.phase {
	case Open:
		if m.reach.active && m.reach.next.Before(m.next) {
			return m.reach.next
		}
		return m.next
	case HalfOpen:
		return m.ramp.used.Add(quietAfter)
	}
	return time.Time{}
}

// adopt takes the verdict of another process. It returns false if the verdict must be
// looked at again, because calls of this process have succeeded a moment ago.
func (m *machine) adopt(v verdict, now time.Time) bool {
	switch {
	case m.phase == Probing:
	case v.Phase != Open.String():
		m.adoptWorking(v, now)
	case m.phase == Open:
		m.reason, m.last, m.fails, m.next = v.Reason, v.result(), v.Fails, v.next(now)
		m.reach.begin(v.Unreached, now)
	case now.Sub(m.succeeded) < freshFor:
		return false
	default:
		if m.phase == Closed {
			m.opened++
		}
		m.phase, m.reason, m.last, m.fails = Open, v.Reason, v.result(), v.Fails
		m.since, m.next = v.since(now), v.next(now)
		m.reach.begin(v.Unreached, now)
		m.counts, m.unposted = counts{}, false
	}
	return true
}

// adoptWorking takes the verdict that the server works.
func (m *machine) adoptWorking(v verdict, now time.Time) {
	switch {
	case m.phase == Open:
		m.halfOpen(now, false)
		m.ramp.told = true
	case m.phase == HalfOpen && v.Phase == Closed.String():
		m.close(false)
	}
}

// ramp is the gradual reopening: 1 call at a time, then 2, 4 and so on.
type ramp struct {
	number    int // of this reopening
	limit     int // calls at a time
	inFlight  int
	succeeded int       // calls since limit changed
	used      time.Time // last success, or the begin
	told      bool      // the share has the verdict, or will have it
}

func (r *ramp) begin(now time.Time) { *r = ramp{number: r.number + 1, limit: 1, used: now} }

// succeed counts a success, and reports whether it was the last one that was missing.
func (r *ramp) succeed(now time.Time) bool {
	r.succeeded++
	r.used = now
	if r.succeeded >= r.limit {
		r.succeeded, r.limit = 0, 2*r.limit
	}
	return r.limit > fullAt
}

// pauses are the pauses before probes.
type pauses struct{ fault, slow, most time.Duration }

func (p pauses) pause(fails int, last Result) time.Duration {
	pause := p.fault
	if last == Throttled || last == Refused {
		pause = p.slow
	}
	pause = min(pause<<min(fails, 16), p.most)
	return pause + time.Duration(rand.Float64()*0.2*float64(pause))
}

// The share of faults that opens a breaker.
const (
	window      = 30 // seconds
	fewestCalls = 20
)

// counts counts calls of the last 30 seconds, and faults in a row.
type counts struct {
	row    int
	second int64 // of the last call
	calls  [window]struct{ all, faults int32 }
}

func (c *counts) add(fault bool, now time.Time) {
	c.forward(now)
	slot := &c.calls[c.second%window]
	slot.all++
	if !fault {
		c.row = 0
		return
	}
	c.row++
	slot.faults++
}

// forward clears the seconds that have passed since the last call.
func (c *counts) forward(now time.Time) {
	second := now.Unix()
	for s := max(c.second+1, second-window+1); s <= second; s++ {
		c.calls[s%window] = struct{ all, faults int32 }{}
	}
	c.second = max(c.second, second)
}

// half reports whether half of the calls, and not too few, were faults.
func (c *counts) half(now time.Time) bool {
	c.forward(now)
	all, faults := int32(0), int32(0)
	for _, s := range c.calls {
		all += s.all
		faults += s.faults
	}
	return all >= fewestCalls && 2*faults >= all
}
