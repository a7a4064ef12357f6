package model

// faults are what may happen to a process at any time.
func (g *gen) faults(p int) {
	pr := &g.s.Procs[p]
	fault := func(name string, change func(n *State, mv *Move)) {
		st := at(name, p)
		st.Fault = true
		g.step(st, change)
	}
	switch pr.Life {
	case Down:
		if pr.Python || p < g.w.Ours {
			g.restart(p)
		}
		return
	case Frozen, Cut:
		g.step(at(StepBack, p), func(n *State, _ *Move) { n.Procs[p].Life = Up })
	case Up:
		if g.s.Absences > 0 {
			fault(StepFreeze, func(n *State, _ *Move) { n.away(p, Frozen) })
			// One that does nothing inside may as well be frozen.
			if !pr.Python && !pr.idle() {
				fault(StepCut, func(n *State, _ *Move) { n.away(p, Cut) })
			}
		}
		if g.s.Stops > 0 && !pr.Stopping {
			fault(StepStop, func(n *State, _ *Move) {
				n.Stops--
				n.Procs[p].Stopping = true
			})
		}
	}
	if g.s.Crashes > 0 {
		fault(StepCrash, func(n *State, mv *Move) {
			n.Crashes--
			n.crash(p, mv)
		})
	}
}

func (s *State) away(p int, life Life) {
	s.Absences--
	s.Procs[p].Life, s.Procs[p].Absent = life, true
}

func (s *State) crash(p int, mv *Move) {
	for _, t := range s.Procs[p].Tasks {
		msg := &s.Msgs[t.Msg]
		switch {
		case t.Stage == Free:
		case msg.Place == InHand && (t.Stage == Popped || t.Stage == Stored):
			if s.Procs[p].Python {
				s.drop(t.Msg, PythonCrashBeforeRegister, mv)
			} else {
				msg.Place = Nowhere
			}
		case s.Procs[p].Python && (t.Stage == Worked || t.Stage == Looked || t.Stage == Stored):
			if msg.Place == Unacked && msg.Python {
				msg.Cause |= PythonCrashAfterWork
			}
		case t.Live && (t.Stage == Worked || t.Stage == Succeeding || t.Stage == Failing):
			msg.Cause |= CrashAfterWork
		}
	}
	s.end(p)
}

// end takes the process away; what it has entered in Redis stays.
func (s *State) end(p int) {
	pr := &s.Procs[p]
	*pr = Proc{Python: pr.Python}
	if s.Mutex == uint8(p)+1 {
		s.Mutex = deadHolder
	}
}

// restart starts a process where one has ended, while there is something to do.
func (g *gen) restart(p int) {
	if g.s.settled() {
		return
	}
	next := *g.s
	if !next.launch(uint8(p)) {
		return
	}
	g.step(at(StepRestart, p), func(n *State, _ *Move) { n.launch(uint8(p)) })
}

// tick lets half of a timeout pass. A worker that is well beats and renews in it, so
// that what is its stays young; locks run out. A tick at which nothing can run out, now
// or later, is left out.
func (g *gen) tick() {
	if !g.timeMatters() {
		return
	}
	var beats, renewed uint8 // owners and messages that are kept young
	for i := range g.s.Procs {
		p := &g.s.Procs[i]
		if p.Life != Up || !p.ours() {
			continue
		}
		if own := g.s.Owners[p.Owner]; !own.Listed || own.Age > 0 {
			return
		}
		beats |= bit(p.Owner)
		for _, t := range p.Tasks {
			switch {
			case !g.granted(p):
			case t.mayHear(), t.Live && g.s.Msgs[t.Msg].Age > 0:
				return
			case t.Live:
				renewed |= bit(t.Msg)
			}
		}
	}
	g.step(Step{Name: StepTick, Proc: -1, Msg: -1}, func(n *State, mv *Move) {
		for o := range n.Owners {
			if n.Owners[o].Listed && !has(beats, o) {
				n.Owners[o].Age = min(n.Owners[o].Age+1, old)
			}
		}
		for i := range n.Msgs {
			if n.Msgs[i].Place == Unacked && !has(renewed, i) {
				n.Msgs[i].Age = min(n.Msgs[i].Age+1, old)
			}
		}
		switch {
		case n.Claimed == 0 || renewed == 0:
		case renewed == bit(0)|bit(1):
			n.Scored = n.Claimed
		default:
			n.Scored = renewed // of one message, which is its number from 1
		}
		n.Mutex = 0
		for i := range n.Procs {
			p := &n.Procs[i]
			for _, t := range p.Tasks {
				if p.Life == Up && !p.Absent && t.Live && n.Msgs[t.Msg].Age >= old {
					mv.broke(LeaseKept)
				}
			}
		}
	})
}

// timeMatters reports whether something may expire: of a process that stands still or is
// gone, of Python, which renews nothing, or of a refused step.
func (g *gen) timeMatters() bool {
	if g.s.Mutex != 0 {
		return true
	}
	for i := range g.s.Msgs {
		m := &g.s.Msgs[i]
		if m.Place != Unacked || m.Age >= old {
			continue
		}
		p := g.s.process(m.Owner)
		if m.Python || p == nil || p.Life != Up || p.Suspect || !g.granted(p) {
			return true
		}
	}
	for o := range g.s.Owners {
		own := g.s.Owners[o]
		if p := g.s.process(uint8(o)); own.Listed && own.Age < old && (p == nil || p.Life != Up) {
			return true
		}
	}
	return false
}
