package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Graph is all that can happen in a world.
type Graph struct {
	World  World
	states []State
	parent []int32
	out    [][]edge
	kinds  []string // of edges
	rs     []renaming

	Windows map[Windows]Finding // that were seen, with the first move that shows each
	Broken  map[string]Finding  // invariants, each with one trace
	Edges   int
}

type edge struct {
	to    int32
	kind  uint16
	fault bool
}

// Explore searches w, breadth first, to its end.
func Explore(w World) *Graph { return ExploreUntil(w, func(*Graph) bool { return false }) }

// ExploreUntil searches w, breadth first, until enough says so or to its end. Only
// what was searched to its end can be said to have none that is bad.
func ExploreUntil(w World, enough func(*Graph) bool) *Graph {
	g := &Graph{World: w, rs: w.symmetries(), Windows: map[Windows]Finding{}, Broken: map[string]Finding{}}
	known := map[State]int32{}
	kindOf := map[string]uint16{}
	add := func(s State, parent int32) int32 {
		if i, ok := known[s]; ok {
			return i
		}
		i := int32(len(g.states))
		known[s] = i
		g.states, g.parent = append(g.states, s), append(g.parent, parent)
		return i
	}
	start := w.Start()
	add(canonical(&start, g.rs), -1)
	for i := 0; i < len(g.states); i++ {
		if enough(g) {
			g.out = append(g.out, make([][]edge, len(g.states)-len(g.out))...)
			return g
		}
		s := g.states[i]
		var out []edge
		for _, mv := range w.Moves(&s) {
			to := add(canonical(&mv.Next, g.rs), int32(i))
			kind, ok := kindOf[mv.Step.Kind()]
			if !ok {
				kind = uint16(len(g.kinds))
				kindOf[mv.Step.Kind()] = kind
				g.kinds = append(g.kinds, mv.Step.Kind())
			}
			out = append(out, edge{to, kind, mv.Step.Fault})
			g.note(&mv, Finding{int32(i), to, kind})
		}
		g.Edges += len(out)
		g.out = append(g.out, out)
	}
	g.checkEnds()
	return g
}

// Finding is a move that shows something: from where, to where, and its kind.
type Finding struct {
	from, to int32
	kind     uint16
}

// note keeps the first move that shows a window or breaks an invariant.
func (g *Graph) note(mv *Move, at Finding) {
	for _, n := range windowNames {
		if mv.Windows&n.w == 0 {
			continue
		}
		if _, seen := g.Windows[n.w]; !seen {
			g.Windows[n.w] = at
		}
	}
	for _, b := range mv.Broken {
		if _, seen := g.Broken[b]; !seen {
			g.Broken[b] = at
		}
	}
}

// checkEnds looks for states from which no good end can be reached but by faults.
func (g *Graph) checkEnds() {
	back := make([][]int32, len(g.states))
	for i, out := range g.out {
		for _, e := range out {
			if !e.fault {
				back[e.to] = append(back[e.to], int32(i))
			}
		}
	}
	good := make([]bool, len(g.states))
	var todo []int32
	for i := range g.states {
		if g.states[i].finished() {
			good[i] = true
			todo = append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, from := range back[at] {
			if !good[from] {
				good[from] = true
				todo = append(todo, from)
			}
		}
	}
	if i := slices.Index(good, false); i >= 0 {
		g.Broken[EndsSomewhere] = Finding{from: -1, to: int32(i)}
	}
}

// finished reports whether every message has come to an end, or is lost in a way
// that is known.
func (s *State) finished() bool {
	for i := range s.Msgs {
		if m := &s.Msgs[i]; m.Place != Nowhere {
			return false
		}
	}
	return true
}

// States is their number.
func (g *Graph) States() int { return len(g.states) }

// Kinds are all kinds of steps that were taken, sorted.
func (g *Graph) Kinds() []string { return slices.Sorted(slices.Values(g.kinds)) }

// Trace is a path from the start.
type Trace struct {
	World World
	Start State
	Moves []Move
}

// To returns a shortest path to a finding.
func (g *Graph) To(f Finding) Trace {
	if f.from < 0 {
		return g.along(g.path(f.to))
	}
	return g.along(append(g.path(f.from), f.to), f.kind)
}

// path lists the states on the way to i.
func (g *Graph) path(i int32) []int32 {
	var p []int32
	for ; i >= 0; i = g.parent[i] {
		p = append(p, i)
	}
	slices.Reverse(p)
	return p
}

// along walks a path with the names of its beginning: of states that are symmetric
// the graph has one. Where several steps lead on, the one that shows something is
// taken, and of several kinds the one that is asked for.
func (g *Graph) along(path []int32, kinds ...uint16) Trace {
	t := Trace{World: g.World, Start: g.World.Start()}
	s := t.Start
	for at := 1; at < len(path); at++ {
		want := ""
		if back := len(path) - at; back <= len(kinds) {
			want = g.kinds[kinds[len(kinds)-back]]
		}
		best := -1
		moves := g.World.Moves(&s)
		for i, mv := range moves {
			if canonical(&mv.Next, g.rs) != g.states[path[at]] || want != "" && mv.Step.Kind() != want {
				continue
			}
			if best < 0 || len(moves[best].Broken) == 0 && (mv.Windows != 0 || len(mv.Broken) > 0) {
				best = i
			}
		}
		if best < 0 {
			panic(fmt.Sprintf("model: no step from state %d to state %d", path[at-1], path[at]))
		}
		t.Moves = append(t.Moves, moves[best])
		s = moves[best].Next
	}
	return t
}

// String writes the path for people to read.
func (t Trace) String() string {
	var b strings.Builder
	for i, mv := range t.Moves {
		fmt.Fprintf(&b, "%3d  %s\n", i+1, mv.Step)
		for _, n := range windowNames {
			if mv.Windows&n.w != 0 {
				fmt.Fprintf(&b, "     window: %s\n", n.name)
			}
		}
		for _, inv := range mv.Broken {
			fmt.Fprintf(&b, "     BROKEN: %s\n", inv)
		}
	}
	if n := len(t.Moves); n > 0 {
		fmt.Fprintf(&b, "     %s\n", t.Moves[n-1].Next.describe(t.World.Messages))
	}
	return b.String()
}

// describe says where the messages are.
func (s *State) describe(messages int) string {
	var parts []string
	for i := range messages {
		m := &s.Msgs[i]
		text := fmt.Sprintf("message %d: %s", i+1, [...]string{"nowhere", "queued", "unacked", "in hand"}[m.Place])
		if m.Result != Pending {
			text += ", " + [...]string{"", "SUCCESS", "FAILURE"}[m.Result]
		}
		if m.Dead {
			text += ", dead letter"
		}
		parts = append(parts, fmt.Sprintf("%s, done %d times", text, m.Runs))
	}
	return strings.Join(parts, "; ")
}

// Seen are the windows that were seen.
func (g *Graph) Seen() Windows {
	var all Windows
	for w := range maps.Keys(g.Windows) {
		all |= w
	}
	return all
}
