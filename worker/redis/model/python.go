package model

// python is a worker of Celery with acks_late and one slot; see class QoS in kombu's
// transport/redis.py.
func (g *gen) python(p int) {
	pr := &g.s.Procs[p]
	if pr.Life != Up {
		return
	}
	t := pr.Tasks[0]
	g.byTag(p)
	switch t.Stage {
	case Free:
		g.popBare(p)
	case Popped:
		g.step(at(StepRegister, p).of(t.Msg), func(n *State, _ *Move) {
			n.enter(t.Msg, true, 0)
			n.Procs[p].Tasks[0].Stage = Registered
		})
	case Registered:
		if pr.Stopping {
			g.returnByTag(p)
		}
		g.step(at(StepWork, p).of(t.Msg), func(n *State, mv *Move) {
			n.Procs[p].Tasks[0].Stage = Worked
			n.work(t, mv)
		})
	case Worked:
		g.step(at(StepLook, p).of(t.Msg), func(n *State, _ *Move) {
			n.Procs[p].Tasks[0].Stage = Looked
			if n.Msgs[t.Msg].Result == Success {
				n.Procs[p].Tasks[0].Stage = Stored // nothing to store
			}
		})
	case Looked:
		g.storeBlindly(p, Success)
		if g.w.Failures {
			g.storeBlindly(p, Failure)
		}
	case Stored:
		g.step(at(StepAck, p).of(t.Msg), func(n *State, _ *Move) {
			if msg := n.Msgs[t.Msg]; msg.Place == Unacked && msg.Python {
				n.remove(t.Msg) // whichever process has entered it
			}
			n.Procs[p].Tasks[0] = Task{}
		})
	}
}

func (g *gen) popBare(p int) {
	pr := &g.s.Procs[p]
	if pr.Stopping {
		if pr.Scan.Step == scanLock {
			g.step(at(StepExit, p), func(n *State, _ *Move) { n.end(p) })
		}
		return
	}
	if g.s.Queue[0] == 0 {
		return
	}
	m := g.s.Queue[0] - 1
	g.lossy(at(StepBRPOP, p).of(m), func(n *State, _ *Move) {
		n.pop()
		n.Msgs[m].Place = InHand
		n.Procs[p].Tasks[0] = Task{Stage: Popped, Msg: m, Redelivered: n.Msgs[m].Redelivered}
	}, func(n *State, mv *Move) {
		n.pop()
		n.drop(m, PythonReplyLost, mv)
	})
}

// drop loses the only copy of m.
func (s *State) drop(m uint8, w Windows, mv *Move) {
	msg := &s.Msgs[m]
	msg.Place = Nowhere
	if !msg.over() {
		msg.Lost = true
		mv.Windows |= w
	}
}

// storeBlindly stores a result after a look that may be out of date.
func (g *gen) storeBlindly(p int, o Outcome) {
	m := g.s.Procs[p].Tasks[0].Msg
	g.step(at(StepStore, p).of(m).as(map[Outcome]string{Success: "SUCCESS", Failure: "FAILURE"}[o]), func(n *State, mv *Move) {
		if n.Msgs[m].Result == Success && o == Failure {
			mv.Windows |= PythonLateFailure
		}
		n.Msgs[m].Result = o
		n.Procs[p].Tasks[0].Stage = Stored
	})
}

// returnByTag is what a stop does with a message that has not begun.
func (g *gen) returnByTag(p int) {
	m := g.s.Procs[p].Tasks[0].Msg
	g.step(at(StepByTag, p).of(m).as("at a stop"), func(n *State, _ *Move) {
		n.Procs[p].Tasks[0] = Task{}
		msg := &n.Msgs[m]
		if msg.Place != Unacked || !msg.Python {
			return
		}
		for i := range n.Procs {
			if o := &n.Procs[i]; o.Python && o.Life != Down && o.Tasks[0].Msg == m {
				n.endanger(&o.Tasks[0], PythonStop)
			}
		}
		n.putBack(m, true)
	})
}

// byTag is the scan of a Python worker: what it has listed it gives back, without
// another look at the score.
func (g *gen) byTag(p int) {
	sc := g.s.Procs[p].Scan
	switch sc.Step {
	case scanLock:
		g.list(p, func(n *State) Scan {
			return Scan{
				Step: scanRestore, Last: n.Scored,
				Page: n.held(func(m *Msg) bool { return m.Age >= old && !m.Python }),
				Tags: n.held(func(m *Msg) bool { return m.Age >= old && m.Python }),
			}
		})
	case scanRestore:
		// Messages that left the page went elsewhere; looking at them changes nothing.
		todo := newestFirst(sc.Page|sc.Tags, sc.Last)
		if len(todo) == 0 {
			g.unlock(p)
			return
		}
		m := todo[0]
		g.step(at(StepByTag, p).of(m), func(n *State, _ *Move) {
			msg := n.Msgs[m]
			if has(sc.Page, m) || msg.Place == Unacked && msg.Python {
				g.robbed(n, m, true)
				n.putBack(m, true)
			}
			after := &n.Procs[p].Scan
			after.Page, after.Tags = after.Page&^bit(m), after.Tags&^bit(m)
		})
	}
}
