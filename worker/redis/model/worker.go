package model

// worker takes a message from its queue to its end.
func (g *gen) worker(p int) {
	pr := &g.s.Procs[p]
	if pr.Life != Up && pr.Life != Cut {
		return
	}
	for i, t := range pr.Tasks {
		if t.Stage != Free {
			g.inside(p, i, t)
		}
	}
	if pr.Life == Cut {
		return
	}
	if !pr.Stopping && pr.Registered && !pr.Suspect && pr.Enrol == 0 && pr.room(g.w.Tasks) != nil {
		g.claim(p)
	}
	for i, t := range pr.Tasks {
		switch t.Stage {
		case Claimed:
			if t.Redelivered {
				g.start(p, i)
			}
		case Running:
			if g.w.Fenced {
				g.look(p, i)
			}
		case Worked:
			g.settleAs(p, i, Success)
			if g.w.Failures {
				g.settleAs(p, i, Failure)
			}
		case Succeeding:
			g.settleAs(p, i, Success)
		case Failing:
			g.settleAs(p, i, Failure)
		case Poisoned:
			g.bury(p, i)
		case Popped:
			g.registerLate(p, i)
		case Stored:
			g.storeLast(p, i)
		}
		if t.Stage == Returning || pr.Stopping && (t.Stage == Claimed || t.Stage == Running || t.Stage == Sure || t.Stage == Worked) {
			g.giveBack(p, i)
		}
	}
	if pr.Stopping && pr.idle() {
		g.leave(p)
	}
}

// inside are the steps that need no server.
func (g *gen) inside(p, i int, t Task) {
	switch {
	case t.Stage == Claimed && !t.Redelivered && !g.s.Procs[p].Stopping:
		g.step(at(StepBegin, p).of(t.Msg), func(n *State, _ *Move) { n.Procs[p].Tasks[i].Stage = Running })
	case t.Stage == Sure, t.Stage == Running && !g.w.Fenced:
		g.step(at(StepWork, p).of(t.Msg), func(n *State, mv *Move) {
			n.Procs[p].Tasks[i].Stage = Worked
			n.work(t, mv)
		})
	}
	if t.Told && (t.Stage == Running || t.Stage == Sure || t.Stage == Worked) {
		g.step(at(StepHeed, p).of(t.Msg), func(n *State, _ *Move) { n.Procs[p].Tasks[i] = Task{} })
	}
}

// work notes that the work of t was done, and what it means when that is not the
// first time.
func (s *State) work(t Task, mv *Move) {
	msg := &s.Msgs[t.Msg]
	msg.Cause |= t.Danger
	if msg.Runs == 1 {
		switch {
		case msg.Cause == 0:
			mv.broke(RunsOnce)
		case msg.Cause&(msg.Cause-1) == 0: // there is no doubt which one it was
			mv.Windows |= msg.Cause
		}
	}
	msg.Runs = min(msg.Runs+1, 2)
}

func (g *gen) claim(p int) {
	if g.s.Owners[g.s.Procs[p].Owner].Key != 1 {
		g.step(at(StepClaim, p).as("refused as stale"), func(n *State, _ *Move) { n.Procs[p].Registered = false })
		return
	}
	if g.s.Losses > 0 {
		st := at(StepClaim, p).as("on its way")
		st.Fault = true
		g.step(st, func(n *State, _ *Move) {
			n.Losses--
			n.Procs[p].Suspect = true
			n.Owners[n.Procs[p].Owner].Flight = true
		})
	}
	if g.s.Queue[0] == 0 {
		return
	}
	m := g.s.Queue[0] - 1
	if g.w.Mutant == PopThenRegister {
		g.step(at(StepBRPOP, p).of(m), func(n *State, _ *Move) {
			n.pop()
			n.Msgs[m].Place = InHand
			*n.Procs[p].room(g.w.Tasks) = Task{Stage: Popped, Msg: m, Redelivered: n.Msgs[m].Redelivered}
		})
		return
	}
	g.lossy(at(StepClaim, p).of(m), func(n *State, _ *Move) {
		n.pop()
		n.enter(m, false, n.Procs[p].Owner)
		*n.Procs[p].room(g.w.Tasks) = Task{Stage: Claimed, Msg: m, Live: true, Redelivered: n.Msgs[m].Redelivered}
	}, func(n *State, _ *Move) {
		n.pop()
		n.enter(m, false, n.Procs[p].Owner)
		n.Procs[p].Suspect = true
	})
}

// registerLate is the second half of the claim of a mutant.
func (g *gen) registerLate(p, i int) {
	m := g.s.Procs[p].Tasks[i].Msg
	g.step(at(StepRegister, p).of(m), func(n *State, _ *Move) {
		n.enter(m, false, n.Procs[p].Owner)
		n.Procs[p].Tasks[i].Stage, n.Procs[p].Tasks[i].Live = Claimed, true
	})
}

// arrivals are claims that were given up for lost and are carried out after all.
func (g *gen) arrivals() {
	for o := range g.s.Owners {
		own := g.s.Owners[o]
		if !own.Flight || g.s.Queue[0] == 0 {
			continue
		}
		m := g.s.Queue[0] - 1
		st := Step{Name: StepClaim, Variant: "arrives late", Proc: -1, Msg: int(m), Owner: o, Fault: true}
		g.step(st, func(n *State, _ *Move) {
			n.pop()
			n.enter(m, false, uint8(o))
			n.Owners[o].Flight = false
		})
	}
}

// start says that a message begins to run that was delivered before.
func (g *gen) start(p, i int) {
	t := g.s.Procs[p].Tasks[i]
	st := at(StepStart, p).of(t.Msg)
	if !t.Live {
		g.step(st.as("not held"), func(n *State, _ *Move) { n.Procs[p].Tasks[i] = Task{} })
		return
	}
	count := func(n *State) int {
		msg := &n.Msgs[t.Msg]
		if !msg.Counted {
			if msg.Crashes == 0 {
				msg.Crashes = 2
			}
			msg.Crashes++
			msg.Counted = true
		}
		return int(msg.Crashes) - 2
	}
	g.lossy(st, func(n *State, _ *Move) {
		n.Procs[p].Tasks[i].Stage = Running
		if count(n) >= g.w.MaxRedeliveries {
			n.Procs[p].Tasks[i].Stage = Poisoned
		}
	}, func(n *State, _ *Move) { count(n) })
}

// look is Task.Held.
func (g *gen) look(p, i int) {
	t := g.s.Procs[p].Tasks[i]
	if t.Live {
		g.step(at(StepHeld, p).of(t.Msg), func(n *State, _ *Move) { n.Procs[p].Tasks[i].Stage = Sure })
	} else {
		g.step(at(StepHeld, p).of(t.Msg).as("not held"), func(n *State, _ *Move) { n.Procs[p].Tasks[i] = Task{} })
	}
}

// settleAs ends a delivery.
func (g *gen) settleAs(p, i int, o Outcome) {
	t := g.s.Procs[p].Tasks[i]
	st := at(StepSettle, p).of(t.Msg).as(map[Outcome]string{Success: "SUCCESS", Failure: "FAILURE"}[o])
	if t.Told && o == Failure {
		return // another has the last word: it is given up
	}
	if g.w.Mutant == AckBeforeResult && t.Live {
		g.step(at(StepAckFirst, p).of(t.Msg), func(n *State, _ *Move) {
			n.remove(t.Msg)
			n.Msgs[t.Msg].Place = InHand
			n.Procs[p].Tasks[i].Stage = Stored
		})
		return
	}
	g.lossy(st, func(n *State, _ *Move) {
		n.settle(t, o, g.w.Mutant)
		n.Procs[p].Tasks[i] = Task{}
	}, func(n *State, _ *Move) {
		n.settle(t, o, g.w.Mutant)
		n.Procs[p].Tasks[i].Stage = map[Outcome]Stage{Success: Succeeding, Failure: Failing}[o]
	})
}

// settle is settle.lua.
func (s *State) settle(t Task, o Outcome, mutant Mutant) {
	msg := &s.Msgs[t.Msg]
	if (t.Live || o == Success) && (msg.Result != Success || mutant == StoreBlindly) {
		msg.Result = o
	}
	if !t.Live {
		return
	}
	if t.Redelivered {
		msg.Crashes = 0
	}
	s.remove(t.Msg)
}

// storeLast is the second half of the end of a delivery in a mutant.
func (g *gen) storeLast(p, i int) {
	t := g.s.Procs[p].Tasks[i]
	g.step(at(StepStoreLast, p).of(t.Msg), func(n *State, _ *Move) {
		n.Msgs[t.Msg].Result, n.Msgs[t.Msg].Place = Success, Nowhere
		n.Procs[p].Tasks[i] = Task{}
	})
}

// bury ends a message whose runs never came to an end.
func (g *gen) bury(p, i int) {
	t := g.s.Procs[p].Tasks[i]
	carryOut := func(n *State) {
		if t.Live {
			n.Msgs[t.Msg].Dead = true
		}
		n.settle(t, Failure, g.w.Mutant)
	}
	g.lossy(at(StepSettle, p).of(t.Msg).as("dead letter"), func(n *State, _ *Move) {
		carryOut(n)
		n.Procs[p].Tasks[i] = Task{}
	}, func(n *State, _ *Move) {
		carryOut(n)
		n.Procs[p].Tasks[i].Live = false
	})
}

// giveBack returns at a stop what has not begun, and what was cut off.
func (g *gen) giveBack(p, i int) {
	t := g.s.Procs[p].Tasks[i]
	st := at(StepGiveBack, p).of(t.Msg)
	if !t.Live {
		g.step(st.as("not held"), func(n *State, _ *Move) { n.Procs[p].Tasks[i] = Task{} })
		return
	}
	if t.Stage == Worked {
		st.Variant = "after the work"
	}
	carryOut := func(n *State) {
		msg := &n.Msgs[t.Msg]
		switch {
		case !t.Redelivered && msg.Crashes == 0:
			msg.Crashes = 1 // the next run is counted, which makes it none
		case msg.Counted:
			msg.Crashes--
		}
		if t.Stage == Worked {
			msg.Cause |= StoppedAfterWork
		}
		n.putBack(t.Msg, true)
	}
	g.lossy(st, func(n *State, _ *Move) {
		carryOut(n)
		n.Procs[p].Tasks[i] = Task{}
	}, func(n *State, _ *Move) {
		carryOut(n)
		n.Procs[p].Tasks[i].Stage = Returning
	})
}

// putBack moves m from the unacknowledged to the front of the queue.
func (s *State) putBack(m uint8, mark bool) {
	s.remove(m)
	if mark {
		s.Msgs[m].Redelivered = true
	}
	s.enqueue(m, true)
}

// leave signs off, unless something may be left behind.
func (g *gen) leave(p int) {
	pr := g.s.Procs[p]
	name := StepLeave
	if pr.Suspect {
		name = StepExit // the others take over when the heartbeat has run out
	}
	g.step(at(name, p).on(pr.Owner), func(n *State, _ *Move) {
		if !pr.Suspect {
			own := &n.Owners[pr.Owner]
			own.Listed, own.Age, own.Key, own.Flight = false, 0, 0, false
		}
		n.end(p)
	})
}
