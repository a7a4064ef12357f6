package workertest

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/evently/workers/worker/broker"
)

// marks holds the marks of tasks, by fingerprint.
type marks struct {
	byTask map[string]mark
	first  string // of a task without a mark
}

// mark is a mark, the run that set it, and the mark that an earlier run had left.
type mark struct{ run, value, earlier string }

// set sets a mark, unless it has no value. It returns that of an earlier run, and whether the
// value is a new one.
func (ms *marks) set(m broker.Marking) (earlier string, changed bool) {
	before, ok := ms.byTask[m.Task]
	if !ok && !m.Alone {
		before.value = ms.first
	}
	earlier = before.value
	if ok && before.run == m.Run {
		earlier = before.earlier
	}
	if m.Value == "" || m.Alone && ok && before.run != m.Run {
		return earlier, false
	}
	ms.byTask[m.Task] = mark{run: m.Run, value: m.Value, earlier: earlier}
	return earlier, !ok || before.run != m.Run || before.value != m.Value
}

// end ends a mark. A lost run leaves a settled one, which no later value replaces.
func (ms *marks) end(m *broker.Mark, held bool) {
	switch {
	case m == nil:
	case held && m.Value != "" && ms.byTask[m.Task].value == broker.MarkSettled && ms.byTask[m.Task].run == "":
	case m.Value != "":
		ms.byTask[m.Task] = mark{value: m.Value}
	case held:
		delete(ms.byTask, m.Task)
		ms.first = ""
	default:
		ms.byTask[m.Task] = mark{value: broker.MarkSettled}
	}
}

// endName ends the mark of a name.
func (ms *marks) endName(n broker.NameEnd, held bool) {
	switch before, ok := ms.byTask[n.Task]; {
	case n.Value != "":
		ms.byTask[n.Task] = mark{value: n.Value}
	case held && ok && before.run == n.Run:
		delete(ms.byTask, n.Task)
	}
}

// streams holds streams by name.
type streams map[string]*stream

type stream struct {
	entries []broker.Recorded
	last    int // number of entries so far
	dropped int64
}

// streamMost bounds the entries of a stream.
const streamMost = 100_000

func (ss streams) append(entries []broker.Entry) {
	for _, e := range entries {
		s := ss[e.Stream]
		if s == nil {
			s = &stream{}
			ss[e.Stream] = s
		}
		s.last++
		s.entries = append(s.entries, broker.Recorded{ID: strconv.Itoa(s.last), At: time.Now(), Fields: slices.Clone(e.Fields)})
		if len(s.entries) > streamMost {
			s.entries = s.entries[1:]
			s.dropped++
		}
	}
}

// outbox holds the marks and streams of a Broker.
type outbox struct {
	b       *Broker // whose mutex is for the fields below, too
	marks   marks
	streams streams
	settled map[string]bool // claims whose entries are written
	once    map[string]bool // names of changes that were carried out
}

// record carries out what a settlement says of the mark and of streams. b.mu must be held.
func (o *outbox) record(s broker.Settlement, held bool) {
	o.marks.end(s.Mark, held)
	for _, n := range s.Names {
		o.marks.endName(n, held)
	}
	o.streams.append(s.Entries)
	if s.Delivery.Claim != "" {
		o.settled[s.Delivery.Claim] = true
	}
}

// Mark implements [broker.Marker].
func (o *outbox) Mark(_ context.Context, m broker.Marking) (earlier string, err error) {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	if m.Claim != "" && o.b.claimed[m.Claim] == nil {
		return "", broker.ErrLost
	}
	earlier, changed := o.marks.set(m)
	if changed {
		o.streams.append(m.Entries)
	}
	o.b.wake()
	return earlier, nil
}

// Oldest implements [broker.Outbox].
func (o *outbox) Oldest(_ context.Context, stream string, max int) ([]broker.Recorded, error) {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	s := o.streams[stream]
	if s == nil {
		return nil, nil
	}
	return slices.Clone(s.entries[:min(max, len(s.entries))]), nil
}

// Remove implements [broker.Outbox].
func (o *outbox) Remove(_ context.Context, stream string, ids []string) error {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	if s := o.streams[stream]; s != nil {
		s.entries = slices.DeleteFunc(s.entries, func(e broker.Recorded) bool { return slices.Contains(ids, e.ID) })
	}
	o.b.wake()
	return nil
}

// Backlog implements [broker.Outbox].
func (o *outbox) Backlog(_ context.Context, stream string) (l broker.Backlog, err error) {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	s := o.streams[stream]
	if s == nil {
		return l, nil
	}
	l.Length, l.Dropped = len(s.entries), s.dropped
	if l.Length > 0 {
		l.Oldest = s.entries[0].At
	}
	return l, nil
}
