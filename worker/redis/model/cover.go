package model

import (
	"cmp"
	"slices"
)

// Cover returns paths of the graph that between them take every kind of step, and
// every kind after every other kind after which it was seen. A path ends with what
// it is there for, and is a shortest one.
func (g *Graph) Cover() []Trace {
	type pair struct{ a, b uint16 }
	type place struct {
		from, at, to int32
		depth        int
	}
	depth := make([]int, len(g.states))
	for i := 1; i < len(g.states); i++ {
		depth[i] = depth[g.parent[i]] + 1 // parents come first
	}
	first := map[pair]place{}
	for i, out := range g.out {
		for _, e := range out {
			for _, f := range g.out[e.to] {
				p := pair{e.kind, f.kind}
				if at, ok := first[p]; !ok || depth[i] < at.depth {
					first[p] = place{int32(i), e.to, f.to, depth[i]}
				}
			}
		}
	}
	pairs := make([]pair, 0, len(first))
	for p := range first {
		pairs = append(pairs, p)
	}
	// The longest first: they cover much on their way.
	slices.SortFunc(pairs, func(x, y pair) int {
		return cmp.Or(-cmp.Compare(first[x].depth, first[y].depth), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
	kindOf := map[string]uint16{}
	for i, k := range g.kinds {
		kindOf[k] = uint16(i)
	}
	done := map[pair]bool{}
	var traces []Trace
	for _, p := range pairs {
		if done[p] {
			continue
		}
		at := first[p]
		t := g.along(append(g.path(at.from), at.at, at.to), p.a, p.b)
		for i := 1; i < len(t.Moves); i++ {
			done[pair{kindOf[t.Moves[i-1].Step.Kind()], kindOf[t.Moves[i].Step.Kind()]}] = true
		}
		traces = append(traces, t)
	}
	return traces
}
