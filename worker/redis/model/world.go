package model

// World is what is searched: who takes part, and what may go wrong.
type World struct {
	Name         string
	Ours, Python int // workers; together 3 at most
	Messages     int // 2 at most
	Tasks        int // that one of our workers holds at once, 2 at most

	// How often each fault may happen, in sum: crashes; freezes and cuts; answers
	// and requests that get lost; stops.
	Crashes, Absences, Losses, Stops uint8

	Failures        bool // tasks may end in FAILURE
	Fenced          bool // handlers ask Task.Held before their work
	MaxRedeliveries int  // of a message whose runs do not end, before it is a dead letter
	Mutant          Mutant

	Expect Windows // that the search must see, and no others
}

// Mutant is a way in which the protocol is made worse on purpose.
type Mutant int

// Mutants.
const (
	Sound           Mutant = iota
	NoRenewal              // leases are not renewed
	AckBeforeResult        // acknowledged, and then the result is stored
	PopThenRegister        // popped, and then entered as unacknowledged, as Python does
	StoreBlindly           // a result replaces any other
	NoRecovery             // nothing is given back
	// Two that the search found in earlier code.
	RenewalRefused // a registration that is not done, or an owner that is not known, stops renewals
	OwnerForgotten // who gives back what an owner held deletes what is known of it, without another look
)

// Start is the state of w before anything has happened: all messages are queued,
// and all workers have just started.
func (w *World) Start() State {
	s := State{Crashes: w.Crashes, Absences: w.Absences, Losses: w.Losses, Stops: w.Stops}
	for m := range w.Messages {
		s.enqueue(uint8(m), false)
	}
	for p := range w.Ours + w.Python {
		s.Procs[p].Python = p >= w.Ours
		s.launch(uint8(p))
	}
	return s
}

// launch starts a process that replaces one that is gone.
func (s *State) launch(p uint8) bool {
	pr := &s.Procs[p]
	*pr = Proc{Python: pr.Python, Life: Up}
	if pr.Python {
		return true
	}
	for o := 1; o < maxOwners; o++ {
		if !s.Owners[o].Used {
			s.Owners[o] = Owner{Used: true}
			pr.Owner = uint8(o)
			return true
		}
	}
	return false
}

// Move is a step and where it leads.
type Move struct {
	Step    Step
	Next    State
	Windows Windows  // that were seen
	Broken  []string // invariants
}

func (m *Move) broke(invariant string) { m.Broken = append(m.Broken, invariant) }

// gen generates the moves from one state.
type gen struct {
	w   *World
	s   *State
	out []Move
}

// Moves returns every step that may be taken in s.
func (w *World) Moves(s *State) []Move {
	g := gen{w: w, s: s}
	if s.settled() {
		return nil
	}
	for p := range s.Procs {
		pr := &s.Procs[p]
		switch {
		case pr.Python:
			g.python(p)
		case pr.Owner != 0:
			g.worker(p)
			g.lease(p)
			if g.w.Mutant != NoRecovery {
				g.recovery(p)
				g.scan(p)
			}
		}
		g.faults(p)
	}
	g.arrivals()
	g.tick()
	return g.out
}

// settled reports whether nothing is left that could matter.
func (s *State) settled() bool {
	for i := range s.Msgs {
		if s.Msgs[i].Place != Nowhere {
			return false
		}
	}
	for i := range s.Procs {
		if !s.Procs[i].idle() {
			return false
		}
	}
	return true
}

// step adds a move; change makes the next state of a copy.
func (g *gen) step(st Step, change func(n *State, mv *Move)) {
	g.out = append(g.out, Move{Step: st, Next: *g.s})
	mv := &g.out[len(g.out)-1]
	change(&mv.Next, mv)
	mv.Next.tidy()
	for i := range g.w.Messages {
		m := &mv.Next.Msgs[i]
		if m.Place == Nowhere && !m.over() && !m.Lost {
			mv.broke(NothingLost)
		}
		if g.s.Msgs[i].Result == Success && m.Result != Success && mv.Windows&PythonLateFailure == 0 {
			mv.broke(SuccessStays)
		}
	}
}

// lossy adds a move, and the one in which its answer gets lost after it was
// carried out; lost undoes what the process would have learned.
func (g *gen) lossy(st Step, change, lost func(n *State, mv *Move)) {
	g.step(st, change)
	if g.s.Losses == 0 {
		return
	}
	st.Variant, st.Fault = joinVariant(st.Variant, "answer lost"), true
	g.step(st, func(n *State, mv *Move) {
		n.Losses--
		lost(n, mv)
	})
}

func joinVariant(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// at is a step of process p.
func at(name string, p int) Step { return Step{Name: name, Proc: p, Msg: -1} }

func (s Step) of(m uint8) Step { s.Msg = int(m); return s }

func (s Step) on(o uint8) Step { s.Owner = int(o); return s }

func (s Step) as(variant string) Step { s.Variant = variant; return s }

// process returns the process of an owner, nil when it is gone.
//
//go:norace
func (s *State) process(o uint8) *Proc {
	for i := range s.Procs {
		if p := &s.Procs[i]; p.ours() && p.Owner == o && p.Life != Down {
			return p
		}
	}
	return nil
}

// tidy drops what makes no difference any more, so that equal states are the same.
//
//go:norace
func (s *State) tidy() {
	for i := range s.Procs {
		p := &s.Procs[i]
		for j := range p.Tasks {
			if p.Tasks[j].Stage == Free {
				p.Tasks[j] = Task{}
			}
		}
		if p.Tasks[0].order() < p.Tasks[1].order() {
			p.Tasks[0], p.Tasks[1] = p.Tasks[1], p.Tasks[0]
		}
		if p.Absent && p.Life == Up && s.caughtUp(p) {
			p.Absent = false
		}
	}
	for i := range s.Msgs {
		m := &s.Msgs[i]
		if m.Runs > 1 {
			m.Cause = 0 // the second run is the one that is looked at
		}
		if m.Place == Nowhere && !s.inWork(uint8(i)) {
			*m = Msg{Result: m.Result, Dead: m.Dead, Lost: m.Lost, Runs: m.Runs}
		}
	}
	for o := range s.Owners {
		own := &s.Owners[o]
		if !own.Used || s.process(uint8(o)) != nil {
			continue
		}
		if own.Key > 1 {
			own.Key = 2
		}
		if !own.Listed && !own.Flight && !s.named(uint8(o)) {
			*own = Owner{}
		}
	}
}

// inWork reports whether a process still has m in its hands, or on a list.
//
//go:norace
func (s *State) inWork(m uint8) bool {
	for i := range s.Procs {
		p := &s.Procs[i]
		if has(p.Recovery.Listed|p.Scan.Page|p.Scan.Tags, m) {
			return true
		}
		for _, t := range p.Tasks {
			if t.Stage != Free && t.Msg == m {
				return true
			}
		}
	}
	return false
}

func (t Task) order() int {
	return int(t.Danger)<<10 | int(t.Stage)<<6 | int(t.Msg)<<3 | flag(t.Live)<<2 | flag(t.Redelivered)<<1 | flag(t.Told)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// caughtUp reports whether no process can take p for dead.
//
//go:norace
func (s *State) caughtUp(p *Proc) bool {
	if own := s.Owners[p.Owner]; own.Listed && own.Age >= old {
		return false
	}
	for _, t := range p.Tasks {
		if t.Live && s.Msgs[t.Msg].Age >= old {
			return false
		}
	}
	return true
}

// named reports whether a message is held by owner o, or a recovery is about it.
//
//go:norace
func (s *State) named(o uint8) bool {
	for i := range s.Msgs {
		if s.Msgs[i].Place == Unacked && s.Msgs[i].Owner == o {
			return true
		}
	}
	for i := range s.Procs {
		if s.Procs[i].Recovery.Owner == o {
			return true
		}
	}
	return false
}
