package model

import "math/bits"

// Steps of a recovery that come next.
const (
	recoverFence uint8 = iota
	recoverList
	recoverRestore
	recoverDismiss
	recoverForget
)

// recovery gives back what dead and silent owners held. The lock around it is left
// out: nothing but work that is done twice depends on it.
func (g *gen) recovery(p int) {
	pr := &g.s.Procs[p]
	if pr.Life != Up {
		return
	}
	r := pr.Recovery
	switch r.Step {
	case recoverFence:
		g.provenDead(p)
		for o := range uint8(maxOwners) {
			if o != pr.Owner && g.s.Owners[o].Listed && g.s.Owners[o].Age >= old {
				if g.w.Mutant == OwnerForgotten {
					g.claimsOf(p, o)
				} else {
					g.fence(p, o)
				}
			}
		}
	case recoverList:
		g.claimsOf(p, r.Owner)
	case recoverRestore:
		g.restoreOwner(p)
	case recoverDismiss:
		g.dismiss(p)
	case recoverForget:
		g.step(at(StepForget, p).on(r.Owner), func(n *State, _ *Move) {
			n.Owners[r.Owner].Key, n.Owners[r.Owner].Flight = 0, false
			n.Procs[p].Recovery = Recovery{}
		})
	}
}

// provenDead finds an owner on the same machine whose process has ended.
func (g *gen) provenDead(p int) {
	for o := range uint8(maxOwners) {
		own := g.s.Owners[o]
		if own.Listed && own.Age < old && g.s.process(o) == nil {
			g.step(at(StepProvenDead, p).on(o), func(n *State, _ *Move) {
				n.Owners[o].Age = old
			})
		}
	}
}

// alive reports whether an owner has beaten in time.
func (s *State) alive(o uint8) bool { return s.Owners[o].Listed && s.Owners[o].Age < old }

// fence is fence.lua: from here on no claim of this epoch is carried out.
func (g *gen) fence(p int, o uint8) {
	g.step(at(StepFence, p).on(o), func(n *State, _ *Move) {
		own := &n.Owners[o]
		if own.Key > 0 {
			own.Key = min(own.Key+1, 3)
		}
		own.Flight = false
		n.Procs[p].Recovery = Recovery{Step: recoverList, Owner: o}
	})
}

func (g *gen) claimsOf(p int, o uint8) {
	g.step(at(StepClaimsOf, p).on(o), func(n *State, _ *Move) {
		set := n.held(func(m *Msg) bool { return !m.Python && m.Owner == o })
		r := &n.Procs[p].Recovery
		*r = Recovery{Step: recoverRestore, Owner: o, Listed: set, Live: set}
		if set == 0 {
			r.Step = recoverDismiss
		}
	})
}

// restoreOwner is restore.lua for an owner that is still silent.
func (g *gen) restoreOwner(p int) {
	r := g.s.Procs[p].Recovery
	if g.s.alive(r.Owner) {
		g.step(at(StepRestore, p).on(r.Owner).as("alive again"), func(n *State, _ *Move) { n.Procs[p].Recovery = Recovery{} })
		return
	}
	g.step(at(StepRestore, p).on(r.Owner).as(both(r.Live)), func(n *State, _ *Move) {
		for _, m := range newestFirst(r.Live, n.Claimed) {
			g.robbed(n, m, false)
			n.putBack(m, true)
		}
		n.Procs[p].Recovery.Step = recoverDismiss
		if bits.OnesCount8(r.Live) < bits.OnesCount8(r.Listed) {
			n.Procs[p].Recovery = Recovery{}
		}
	})
}

// both tells apart what gives two messages back: they have an order.
func both(set uint8) string {
	if bits.OnesCount8(set) == 2 {
		return "both"
	}
	return ""
}

// dismiss is dismiss.lua.
func (g *gen) dismiss(p int) {
	o := g.s.Procs[p].Recovery.Owner
	if g.w.Mutant == OwnerForgotten {
		g.step(at(StepDismiss, p).on(o), func(n *State, _ *Move) {
			n.Owners[o].Listed, n.Owners[o].Age = false, 0
			n.Procs[p].Recovery.Step = recoverForget
		})
		return
	}
	st := at(StepDismiss, p).on(o)
	if g.s.alive(o) {
		st.Variant = "alive again"
	}
	g.step(st, func(n *State, _ *Move) {
		if !n.alive(o) {
			n.Owners[o].Listed, n.Owners[o].Age = false, 0
		}
		n.Procs[p].Recovery = Recovery{}
	})
}

// Steps of a scan that come next.
const (
	scanLock uint8 = iota
	scanRestore
	scanUnlock
)

// scan gives back what was not acknowledged in time, ours and Python's.
func (g *gen) scan(p int) {
	pr := &g.s.Procs[p]
	if pr.Life != Up {
		return
	}
	expired := g.s.held(func(m *Msg) bool { return m.Age >= old })
	switch pr.Scan.Step {
	case scanLock:
		g.list(p, func(n *State) Scan { return Scan{Step: scanRestore, Page: expired} })
	case scanRestore:
		g.step(at(StepRestore, p).as(joinVariant("by score", both(pr.Scan.Page))), func(n *State, _ *Move) {
			for _, m := range newestFirst(pr.Scan.Page, n.Scored) {
				g.robbed(n, m, false)
				n.putBack(m, true)
			}
			n.Procs[p].Scan.Step = scanUnlock
		})
	case scanUnlock:
		g.unlock(p)
	}
}

// list takes the lock, which counts from when the list is read, and reads what has
// expired. A scan that would find nothing is left out.
func (g *gen) list(p int, read func(n *State) Scan) {
	if g.s.Mutex != 0 || g.s.held(func(m *Msg) bool { return m.Age >= old }) == 0 {
		return
	}
	g.step(at(StepExpired, p), func(n *State, _ *Move) {
		n.Mutex = uint8(p) + 1
		n.Procs[p].Scan = read(n)
	})
}

func (g *gen) unlock(p int) {
	g.step(at(StepUnlock, p), func(n *State, _ *Move) {
		if n.Mutex == uint8(p)+1 {
			n.Mutex = 0
		}
		n.Procs[p].Scan = Scan{}
	})
}

// robbed notes which window is open when m is given back: its holder may have done
// the work, or may yet do it.
func (g *gen) robbed(n *State, m uint8, byPython bool) {
	msg := &n.Msgs[m]
	for i := range n.Procs {
		p := &n.Procs[i]
		for j := range p.Tasks {
			t := &p.Tasks[j]
			switch {
			case t.Stage == Free || t.Msg != m || p.Life == Down:
			case msg.Python && p.Python && msg.Age < old:
				n.endanger(t, PythonTag)
			case msg.Python && p.Python:
				n.endanger(t, PythonTimeout)
			case !msg.Python && t.Live:
				n.endanger(t, g.absence(p, *t, msg, byPython))
			}
		}
	}
}

// endanger notes that t goes on while its message is on its way to another: it has
// done its work, or may yet do it.
func (s *State) endanger(t *Task, w Windows) {
	switch t.Stage {
	case Free, Popped: // of these there is no entry
	case Claimed, Running, Sure, Registered:
		t.Danger |= w
	default:
		s.Msgs[t.Msg].Cause |= w
	}
}

// absence names the window of a holder of our kind, 0 when there is none, or no
// reason why it should be robbed.
func (g *gen) absence(p *Proc, t Task, msg *Msg, byPython bool) Windows {
	var w Windows
	switch t.Stage {
	case Claimed, Running:
		if !g.w.Fenced { // else Task.Held will tell
			w = AwayBeforeWork
		}
	case Sure:
		w = AwayAfterHeld
	case Worked, Succeeding, Failing:
		w = AwayAfterWork
	}
	switch {
	case w == 0:
		return 0
	case byPython && msg.Age < old:
		return ScanBeforeRenewal
	case !p.Absent:
		return 0
	}
	return w
}
