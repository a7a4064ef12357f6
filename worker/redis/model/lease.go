package model

// lease registers a worker as an owner of claims, and keeps what it holds.
func (g *gen) lease(p int) {
	pr := &g.s.Procs[p]
	if pr.Life != Up {
		return
	}
	g.enrol(p)
	beaten := *g.s
	beaten.beat(p)
	if beaten != *g.s {
		g.step(at(StepHeartbeat, p).on(pr.Owner), func(n *State, _ *Move) { n.beat(p) })
	}
	if g.w.Mutant != NoRenewal {
		g.renew(p)
	}
}

// beat is heartbeat.lua. The owners that it finds silent are left out: fence.lua looks
// again.
func (s *State) beat(p int) {
	own := &s.Owners[s.Procs[p].Owner]
	own.Listed, own.Age = true, 0
}

// enrol makes a worker known under a new epoch: a claim of an older one is refused
// from then on, and what such claims have taken unseen goes back.
func (g *gen) enrol(p int) {
	pr := &g.s.Procs[p]
	switch pr.Enrol {
	case 0:
		if pr.Stopping || pr.Registered && !pr.Suspect || pr.room(g.w.Tasks) == nil {
			return
		}
		change := func(n *State, _ *Move) {
			own := &n.Owners[pr.Owner]
			own.Key, own.Flight = 2, false
		}
		g.lossy(at(StepEnrol, p).on(pr.Owner), func(n *State, mv *Move) {
			change(n, mv)
			n.Procs[p].Enrol = 1
		}, change)
	case 1:
		g.lossy(at(StepHeartbeat, p).on(pr.Owner).as("of the registration"), func(n *State, _ *Move) {
			n.beat(p)
			n.Procs[p].Enrol = 2
			n.enrolled(p)
		}, func(n *State, _ *Move) {
			n.beat(p)
			n.Procs[p].Enrol = 0
		})
	case 2:
		for _, m := range newestFirst(g.s.orphans(p), g.s.Claimed) {
			g.lossy(at(StepOrphan, p).of(m), func(n *State, _ *Move) {
				n.putBack(m, false)
				n.enrolled(p)
			}, func(n *State, _ *Move) {
				n.putBack(m, false)
				n.Procs[p].Enrol = 0
			})
			break // one after the other
		}
		if g.s.orphans(p) == 0 { // another process has given them back
			g.step(at(StepClaimsOf, p).on(pr.Owner).as("no orphans"), func(n *State, _ *Move) { n.enrolled(p) })
		}
	}
}

// orphans are what claims have taken whose answers got lost.
func (s *State) orphans(p int) uint8 {
	pr := &s.Procs[p]
	if !pr.Suspect {
		return 0
	}
	set := s.held(func(m *Msg) bool { return !m.Python && m.Owner == pr.Owner })
	for _, t := range pr.Tasks {
		if t.Live {
			set &^= bit(t.Msg)
		}
	}
	return set
}

// enrolled ends a registration that has nothing to give back any more.
func (s *State) enrolled(p int) {
	pr := &s.Procs[p]
	if s.orphans(p) != 0 {
		return
	}
	pr.Registered, pr.Suspect, pr.Enrol = true, false, 0
	if own := &s.Owners[pr.Owner]; own.Key > 0 {
		own.Key-- // the process counts on
	}
}

// renew is renew.lua, and what the worker does with its answer.
func (g *gen) renew(p int) {
	pr := &g.s.Procs[p]
	due := false
	for _, t := range pr.Tasks {
		due = due || t.Live && g.s.Msgs[t.Msg].Age > 0 || t.mayHear()
	}
	if !due {
		return
	}
	known := g.s.Owners[pr.Owner].Key != 0
	if !g.granted(pr) {
		g.step(at(StepRenew, p).as("refused as stale"), func(n *State, mv *Move) {
			n.mustKnow(p, mv)
		})
		return
	}
	change := func(n *State, _ *Move) {
		set := uint8(0)
		for _, t := range n.Procs[p].Tasks {
			if t.Live {
				n.renewed(t.Msg)
				set |= bit(t.Msg)
			}
		}
		if n.Claimed != 0 && set == bit(0)|bit(1) {
			n.Scored = n.Claimed // the same score: their names decide
		}
	}
	st := at(StepRenew, p)
	if !known {
		st.Variant = "owner not known"
	}
	g.lossy(st, func(n *State, mv *Move) {
		change(n, mv)
		if known {
			n.tell(p)
		}
		n.mustKnow(p, mv)
	}, change)
}

// granted reports whether the leases of a worker would be renewed.
func (g *gen) granted(p *Proc) bool {
	switch g.w.Mutant {
	case NoRenewal:
		return false
	case RenewalRefused:
		return g.s.Owners[p.Owner].Key == 1
	}
	return true
}

// mayHear reports whether the process does not know yet that it has lost t.
func (t Task) mayHear() bool {
	return !t.Live && !t.Told && (t.Stage == Claimed || t.Stage == Running || t.Stage == Sure || t.Stage == Worked)
}

// tell is Session.Lost for all that is lost.
func (s *State) tell(p int) {
	for i := range s.Procs[p].Tasks {
		t := &s.Procs[p].Tasks[i]
		switch {
		case !t.mayHear():
		case t.Stage == Claimed:
			*t = Task{} // it does not begin
		default:
			t.Told = true
		}
	}
}

func (s *State) mustKnow(p int, mv *Move) {
	for _, t := range s.Procs[p].Tasks {
		if t.mayHear() {
			mv.broke(LossIsTold)
		}
	}
}
