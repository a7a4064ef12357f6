package workertest

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// chord is the state of one chord.
type chord struct {
	size, more int
	known      bool // whether the size is known
	done       bool // its body was published
	seen       map[string]bool
	entries    []canvas.MemberEntry
}

// over reports whether the body was published, so that one more member is a late copy. A
// member that was not delivered before belongs to a further run under the same ids, whose
// size comes later, and so do the members after it.
func (c *chord) over(redelivered bool) bool { return c.done && redelivered && len(c.entries) == 0 }

// join returns the results of the header. saved is the structure of its groups, if any.
func (c *chord) join(saved protocol.Raw, results map[string]*protocol.Result) canvas.Joined {
	var j canvas.Joined
	for _, e := range c.entries {
		j.Members = append(j.Members, e.JSON)
	}
	if j.Saved = saved; j.Saved != nil {
		ids, err := canvas.SavedIDs(j.Saved)
		if err != nil {
			return j
		}
		j.Results = map[string]*protocol.Result{}
		for _, id := range ids {
			j.Results[id] = results[id]
		}
	}
	return j
}

// chords holds the chords by the ids of their groups.
type chords map[string]*chord

// of returns a chord, a new one if there is none.
func (all chords) of(group string) *chord {
	c := all[group]
	if c == nil {
		c = &chord{seen: map[string]bool{}}
		all[group] = c
	}
	return c
}

// count records a member that has ended, once.
func (all chords) count(e canvas.MemberEntry, redelivered bool) {
	c := all.of(e.GroupID)
	if c.over(redelivered) || c.seen[e.TaskID+":"+e.Score] {
		return
	}
	c.seen[e.TaskID+":"+e.Score] = true
	c.entries = append(c.entries, e)
	slices.SortStableFunc(c.entries, func(a, b canvas.MemberEntry) int { return cmp.Compare(score(a), score(b)) })
}

// stepCounts holds the number of steps done for a settlement, by claim.
type stepCounts map[string]int

// done reports whether the step was carried out before.
func (n stepCounts) done(s broker.Settlement) bool {
	return s.Delivery.Claim != "" && n[s.Delivery.Claim] > s.Step
}

// carry makes the changes of a settlement and returns the chords that they complete.
func (b *Broker) carry(s broker.Settlement) broker.Settled {
	env, _ := protocol.ParseEnvelope(s.Delivery.Raw)
	var parts []canvas.ChordPart
	if !b.steps.done(s) {
		parts = b.apply(s.Changes, env.Redelivered)
	} else {
		parts = s.Changes.Members
	}
	for _, body := range s.Bodies {
		c := b.chords.of(body.GroupID)
		if !c.known {
			continue // another worker was quicker
		}
		c.known = false
		if !body.Failed {
			*c = chord{seen: map[string]bool{}, done: true}
		}
		parts = append(parts, b.apply(body.Changes, env.Redelivered)...)
	}
	var settled broker.Settled
	named := map[string]bool{}
	for _, p := range slices.Backward(parts) {
		c := b.chords.of(p.Entry.GroupID)
		if named[p.Entry.GroupID] || !c.known || len(c.entries) < c.size+c.more {
			continue
		}
		named[p.Entry.GroupID] = true
		settled.Complete = append(settled.Complete, broker.CompleteChord{Part: p, Joined: c.join(b.groups[p.Entry.GroupID], b.results.byID)})
	}
	return settled
}

// apply makes changes and returns the chord members that count. redelivered is set if
// their message was delivered before.
func (b *Broker) apply(c broker.Changes, redelivered bool) (parts []canvas.ChordPart) {
	failed := map[int]bool{}
	for i, p := range c.Members {
		r := b.results.byID[p.Entry.TaskID]
		failed[i] = p.UnlessFailed && r != nil && (r.Status == protocol.StateFailure || r.Status == protocol.StateRevoked)
	}
	for _, s := range c.Sizes {
		c := b.chords.of(s.GroupID)
		c.size, c.known, c.done = s.Size, true, false
	}
	for _, g := range c.Groups {
		b.groups[g.GroupID] = g.Value
	}
	for _, j := range c.Joins {
		b.chords.of(j.GroupID).more += j.Members
	}
	for _, r := range c.Results {
		b.results.store(r)
	}
	for i, p := range c.Members {
		if !failed[i] {
			b.chords.count(p.Entry, redelivered)
			parts = append(parts, p)
		}
	}
	for _, p := range c.Publish {
		b.sent = append(b.sent, p)
		if !b.hold {
			b.lists.push(cmp.Or(p.Queue, p.RoutingKey), p.Priority, p.Raw, false)
		}
	}
	return parts
}

func score(e canvas.MemberEntry) float64 {
	f, err := strconv.ParseFloat(e.Score, 64)
	if err != nil {
		return 0 // canvas writes numbers and "+inf"
	}
	return f
}
