package model

import "bytes"

// Functions that are called for every state, and touch only that state, are not watched by
// the race detector, here and in world.go. It would take most of the time.

// renaming maps processes, messages and owners to others.
type renaming struct {
	procs  [maxProcs]uint8
	msgs   [maxMsgs]uint8
	owners [maxOwners]uint8
}

// symmetries are the ways in which the processes and messages of a world can be
// exchanged without a difference.
func (w *World) symmetries() (rs []renaming) {
	n := w.Ours + w.Python
	for _, procs := range permutations(n) {
		ok := true
		for from, to := range procs {
			ok = ok && (from < w.Ours) == (int(to) < w.Ours)
		}
		if !ok {
			continue
		}
		for _, msgs := range permutations(w.Messages) {
			r := renaming{procs: [maxProcs]uint8{0, 1, 2}, msgs: [maxMsgs]uint8{0, 1}}
			copy(r.procs[:], procs)
			copy(r.msgs[:], msgs)
			rs = append(rs, r)
		}
	}
	return rs
}

// permutations of 0 to n-1.
func permutations(n int) (all [][]uint8) {
	if n == 0 {
		return [][]uint8{nil}
	}
	for _, p := range permutations(n - 1) {
		for at := 0; at <= len(p); at++ {
			one := append(append(append([]uint8{}, p[:at]...), uint8(n-1)), p[at:]...)
			all = append(all, one)
		}
	}
	return all
}

// canonical returns the one state that stands for all that are symmetric to s.
//
//go:norace
func canonical(s *State, rs []renaming) State {
	var gone ownerList
	s.orphaned(&gone)
	orders := orders[gone.n]
	if len(rs) == 1 && len(orders) == 1 {
		return s.renamed(s.withOwners(rs[0], &gone, orders[0]))
	}
	var best State
	var least []byte
	var buf [2][256]byte
	which := 0
	for _, r := range rs {
		for _, order := range orders {
			next := s.renamed(s.withOwners(r, &gone, order))
			b := next.encode(buf[which][:0])
			if least == nil || bytes.Compare(b, least) < 0 {
				best, least = next, b
				which = 1 - which
			}
		}
	}
	return best
}

// orders are the permutations of up to so many things.
var orders = func() (all [maxOwners][][]uint8) {
	for n := range all {
		all[n] = permutations(n)
	}
	return all
}()

// ownerList is a set of owners in an order.
type ownerList struct {
	n   int
	all [maxOwners]uint8
}

// orphaned are the owners whose processes are gone.
//
//go:norace
func (s *State) orphaned(l *ownerList) {
	for o := range s.Owners {
		if s.Owners[o].Used && s.process(uint8(o)) == nil {
			l.all[l.n] = uint8(o)
			l.n++
		}
	}
}

// withOwners numbers the owners: first the owners of processes in their new order, then the
// owners that are gone, in one of their orders.
//
//go:norace
func (s *State) withOwners(r renaming, gone *ownerList, order []uint8) renaming {
	next := uint8(1)
	var at [maxProcs]uint8
	for from, to := range r.procs {
		at[to] = uint8(from)
	}
	for _, from := range at {
		if p := &s.Procs[from]; p.ours() {
			r.owners[p.Owner] = next
			next++
		}
	}
	for _, i := range order {
		r.owners[gone.all[i]] = next
		next++
	}
	return r
}

// renamed returns s under other names.
//
//go:norace
func (s *State) renamed(r renaming) State {
	n := *s
	n.Owners = [maxOwners]Owner{}
	for o := range s.Owners {
		if s.Owners[o].Used {
			n.Owners[r.owners[o]] = s.Owners[o]
		}
	}
	for i, m := range s.Queue {
		if m != 0 {
			n.Queue[i] = r.msgs[m-1] + 1
		}
	}
	for m := range s.Msgs {
		to := &n.Msgs[r.msgs[m]]
		*to = s.Msgs[m]
		to.Owner = r.owners[to.Owner]
	}
	n.Claimed, n.Scored = r.number(s.Claimed), r.number(s.Scored)
	if s.Mutex != 0 && s.Mutex != deadHolder {
		n.Mutex = r.procs[s.Mutex-1] + 1
	}
	for from := range s.Procs {
		p := &n.Procs[r.procs[from]]
		*p = s.Procs[from]
		p.Owner = r.owners[p.Owner]
		p.Recovery.Owner = r.owners[p.Recovery.Owner]
		p.Recovery.Listed, p.Recovery.Live = r.msgSet(p.Recovery.Listed), r.msgSet(p.Recovery.Live)
		p.Scan.Page, p.Scan.Tags, p.Scan.Last = r.msgSet(p.Scan.Page), r.msgSet(p.Scan.Tags), r.number(p.Scan.Last)
		for i := range p.Tasks {
			if p.Tasks[i].Stage != Free {
				p.Tasks[i].Msg = r.msgs[p.Tasks[i].Msg]
			}
		}
		if p.Tasks[0].order() < p.Tasks[1].order() {
			p.Tasks[0], p.Tasks[1] = p.Tasks[1], p.Tasks[0]
		}
	}
	return n
}

// number renames a message that is numbered from 1.
func (r *renaming) number(m uint8) uint8 {
	if m == 0 {
		return 0
	}
	return r.msgs[m-1] + 1
}

func (r *renaming) msgSet(set uint8) (out uint8) {
	for m := range uint8(maxMsgs) {
		if has(set, m) {
			out |= bit(r.msgs[m])
		}
	}
	return out
}

// encode writes s as bytes, to compare states by.
//
//go:norace
func (s *State) encode(b []byte) []byte {
	f := func(v bool) byte { return byte(flag(v)) }
	b = append(b, s.Queue[:]...)
	for i := range s.Msgs {
		m := &s.Msgs[i]
		b = append(b, byte(m.Place), f(m.Python), m.Owner, m.Age, f(m.Redelivered), byte(m.Result), f(m.Dead), m.Crashes,
			f(m.Counted), m.Runs, f(m.Lost), byte(m.Cause), byte(m.Cause>>8))
	}
	for i := range s.Owners {
		o := &s.Owners[i]
		b = append(b, f(o.Used), f(o.Listed), o.Age, o.Key, f(o.Flight))
	}
	b = append(b, s.Mutex, s.Claimed, s.Scored)
	for i := range s.Procs {
		p := &s.Procs[i]
		b = append(b, f(p.Python), byte(p.Life), f(p.Stopping))
		for j := range p.Tasks {
			t := &p.Tasks[j]
			b = append(b, byte(t.Stage), t.Msg, f(t.Live), f(t.Redelivered), f(t.Told), byte(t.Danger), byte(t.Danger>>8))
		}
		b = append(b, p.Scan.Step, p.Scan.Page, p.Scan.Tags, p.Scan.Last, p.Owner, f(p.Registered), f(p.Suspect), p.Enrol,
			p.Recovery.Step, p.Recovery.Owner, p.Recovery.Listed, p.Recovery.Live, f(p.Absent))
	}
	return append(b, s.Crashes, s.Absences, s.Losses, s.Stops)
}
