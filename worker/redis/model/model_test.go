package model

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// large says that minutes may be spent.
var large = os.Getenv("MODEL_LARGE") != ""

// doc is where the figures and the windows are published.
const doc = "../../../docs/model.md"

// In every order of steps no guarantee is broken, and the ways to lose or repeat a message are
// exactly the documented ones.
func TestModel(t *testing.T) {
	worlds := Worlds()
	if large {
		worlds = append(worlds, LargeWorlds()...)
	}
	text := readDoc(t)
	var mu sync.Mutex
	var seen Windows
	scripts := map[string]bool{}
	t.Run("worlds", func(t *testing.T) {
		for _, w := range worlds {
			t.Run(w.Name, func(t *testing.T) {
				t.Parallel()
				g := Explore(w)
				for invariant, at := range g.Broken {
					t.Errorf("broken: %s\n%s", invariant, g.To(at))
				}
				for _, n := range windowNames {
					at, ok := g.Windows[n.w]
					if ok && testing.Verbose() {
						t.Logf("%s\n%s", n.name, g.To(at))
					}
					if ok != (w.Expect&n.w != 0) {
						t.Errorf("window %q: seen %v, expected %v", n.name, ok, !ok)
					}
				}
				if row := fmt.Sprintf("| %s | %d | %d |", w.Name, g.States(), g.Edges); !strings.Contains(text, row) {
					t.Errorf("%s has no row %s", doc, row)
				}
				mu.Lock()
				defer mu.Unlock()
				seen |= g.Seen()
				for _, kind := range g.Kinds() {
					if name, _, ok := strings.Cut(kind, ".lua"); ok {
						scripts[name] = true
					}
				}
			})
		}
	})
	for _, n := range windowNames {
		if seen&n.w == 0 {
			t.Errorf("window %q was not seen in any world", n.name)
		}
		if !strings.Contains(text, n.name) {
			t.Errorf("window %q is not in %s", n.name, doc)
		}
	}
	for name := range scripts {
		if _, err := os.Stat("../internal/scripts/" + name + ".lua"); err != nil {
			t.Errorf("a step is called after a script that is not there: %v", err)
		}
	}
	const want = "claim dismiss fence giveback heartbeat renew restore settle start unlock"
	if got := strings.Join(slices.Sorted(maps.Keys(scripts)), " "); got != want {
		t.Errorf("scripts of the model are %s, want %s", got, want)
	}
}

// The comments of the steps name functions that are where they say.
func TestPlacesOfSteps(t *testing.T) {
	text, err := os.ReadFile("names.go")
	if err != nil {
		t.Fatal(err)
	}
	places := regexp.MustCompile(`(?m)// ((?:\.\./)+\w+\.go), (\w+)`).FindAllStringSubmatch(string(text), -1)
	if len(places) < 15 {
		t.Errorf("%d places found: this test proves nothing", len(places))
	}
	for _, m := range places {
		code, err := os.ReadFile(m[1])
		if err != nil {
			t.Error(err)
		} else if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + m[2] + `\(`).Match(code) {
			t.Errorf("names.go names %s in %s, which has no such function", m[2], m[1])
		}
	}
}

// The published results of the larger search must have the worlds of this model. The figures
// are checked when MODEL_LARGE is set.
func TestDocumentNamesAllWorlds(t *testing.T) {
	text := readDoc(t)
	for _, w := range slices.Concat(Worlds(), LargeWorlds()) {
		if !strings.Contains(text, "| "+w.Name+" |") {
			t.Errorf("%s has no row for %q", doc, w.Name)
		}
	}
	for _, m := range Mutants() {
		if !strings.Contains(text, m.Name) {
			t.Errorf("%s has nothing of the mutant %q", doc, m.Name)
		}
	}
}

// A search that finds nothing wrong with a protocol that is wrong is worth nothing:
// every invariant is broken by a mutant.
func TestMutants(t *testing.T) {
	var broken sync.Map
	t.Run("mutants", func(t *testing.T) {
		for _, m := range Mutants() {
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				g := ExploreUntil(m.World, func(g *Graph) bool {
					return !slices.ContainsFunc(m.Breaks, func(b string) bool { _, ok := g.Broken[b]; return !ok })
				})
				for _, invariant := range m.Breaks {
					at, ok := g.Broken[invariant]
					if !ok {
						t.Errorf("not broken: %s", invariant)
						continue
					}
					broken.Store(invariant, true)
					t.Logf("broken: %s\n%s", invariant, g.To(at))
				}
			})
		}
	})
	for _, invariant := range []string{NothingLost, SuccessStays, RunsOnce, LeaseKept, LossIsTold, EndsSomewhere} {
		if _, ok := broken.Load(invariant); !ok {
			t.Errorf("no mutant breaks: %s", invariant)
		}
	}
}

// People read the shortest traces. This one shows in four lines why a bare BRPOP loses
// messages.
func TestTraceIsReadable(t *testing.T) {
	i := slices.IndexFunc(Mutants(), func(m Worse) bool { return m.Mutant == PopThenRegister })
	g := Explore(Mutants()[i].World)
	want := `  1  worker A: HSET owner epoch (owner 1)
  2  worker A: heartbeat.lua, of the registration (owner 1)
  3  worker A: BRPOP (message 1)
  4  worker A: crash
     BROKEN: no message is lost
     message 1: nowhere, done 0 times
`
	if got := g.To(g.Broken[NothingLost]).String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The same world gives the same graph, and symmetric states are one.
func TestSymmetry(t *testing.T) {
	w := Worlds()[0]
	s := w.Start()
	rs := w.symmetries()
	for step := range 30 {
		moves := w.Moves(&s)
		if len(moves) == 0 {
			break
		}
		s = moves[step*7%len(moves)].Next
		for _, r := range rs {
			var gone ownerList
			s.orphaned(&gone)
			other := s.renamed(s.withOwners(r, &gone, orders[gone.n][0]))
			if canonical(&other, rs) != canonical(&s, rs) {
				t.Fatalf("two names of one state:\n%+v\n%+v", s, other)
			}
		}
	}
}

func readDoc(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
