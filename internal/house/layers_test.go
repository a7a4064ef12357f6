package house_test

import (
	"fmt"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
)

// workerLayers are the files of package worker from the top down. A new file goes directly
// above the files that it uses.
var workerLayers = slices.Concat(workerFloors...)

var workerFloors = [][]string{
	{"client.go", "worker.go", "engine.go"},                                                 // the wiring
	{"stop.go", "node.go", "consume.go", "accept.go", "execute.go", "settle.go", "plan.go"}, // the path of a message
	{"check.go", "builtin.go", "outcome.go", "status.go", "request.go", "workflow.go"},
	{"config.go", "definition.go", "handler.go", "publish.go", "task.go", "call.go", "asyncresult.go", "errors.go"}, // what all of it uses
}

// mostUpward is the share of the arrows that may run up. An arrow leads from a file to
// another one of the package that declares something that the first names: a function, a
// method, a type, a field, a constant or a variable.
const mostUpward = 1.0 / 18

// fileArrow is an arrow between two files, with what the first names of the second.
type fileArrow struct{ from, to string }

// fileArrows returns the arrows between the files of a package.
func fileArrows(t *testing.T, path string) map[fileArrow][]string {
	t.Helper()
	all, fset := typed(t, "./"+path)
	p := all[len(all)-1]
	names := map[fileArrow]map[string]bool{}
	at := func(pos token.Pos) string { return base(fset.Position(pos).Filename) }
	for id, o := range p.info.Uses {
		if o.Pkg() != p.types || !o.Pos().IsValid() {
			continue
		}
		a := fileArrow{at(id.Pos()), at(o.Pos())}
		if a.from == a.to {
			continue
		}
		if names[a] == nil {
			names[a] = map[string]bool{}
		}
		names[a][o.Name()] = true
	}
	arrows := map[fileArrow][]string{}
	for a, of := range names {
		arrows[a] = slices.Sorted(maps.Keys(of))
	}
	return arrows
}

// upward returns the arrows that run up in layers.
func upward(arrows map[fileArrow][]string, layers []string) (up []fileArrow) {
	for a := range arrows {
		if slices.Index(layers, a.from) > slices.Index(layers, a.to) {
			up = append(up, a)
		}
	}
	slices.SortFunc(up, func(a, b fileArrow) int { return strings.Compare(a.from+" "+a.to, b.from+" "+b.to) })
	return up
}

// TestLayersOfWorker fails when more of package worker runs upwards than today. A reader
// who goes down the files then rarely has to go back.
func TestLayersOfWorker(t *testing.T) {
	t.Parallel()
	arrows := fileArrows(t, "worker")
	if len(arrows) < 50 {
		t.Fatalf("%d arrows found: this test proves nothing", len(arrows))
	}
	for a := range arrows {
		for _, file := range []string{a.from, a.to} {
			if !slices.Contains(workerLayers, file) {
				t.Fatalf("worker/%s has no place in workerLayers", file)
			}
		}
	}
	for _, file := range workerLayers {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(arrows)), func(a fileArrow) bool { return a.from == file || a.to == file }) {
			t.Errorf("workerLayers has %s, which does not exist", file)
		}
	}
	up := upward(arrows, workerLayers)
	if share := float64(len(up)) / float64(len(arrows)); share > mostUpward {
		t.Errorf("%d of %d arrows between files of package worker run up (%.1f %%, at most %.1f %%):", len(up), len(arrows), 100*share, 100*mostUpward)
		for _, a := range up {
			t.Errorf("  %s names %s of %s", a.from, strings.Join(arrows[a], ", "), a.to)
		}
	}
	reversed := slices.Clone(workerLayers)
	slices.Reverse(reversed)
	if n := len(upward(arrows, reversed)); n != len(arrows)-len(up) {
		t.Errorf("turned around, %d arrows run up, want %d", n, len(arrows)-len(up))
	}
}

// layers describes the layers of package worker for docs/architecture.md.
func layers(t *testing.T) string {
	t.Helper()
	arrows := fileArrows(t, "worker")
	var rows []string
	for _, a := range upward(arrows, workerLayers) {
		named := arrows[a]
		rest := ""
		if len(named) > 6 {
			named, rest = named[:6], ", …"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | `%s` | `%s`%s |", a.from, a.to, strings.Join(named, "`, `"), rest))
	}
	var floors strings.Builder
	for _, f := range workerFloors {
		floors.WriteString(strings.Join(f, " ") + "\n")
	}
	return "```\n" + floors.String() + "```\n\n| file | uses a file above it | names |\n|---|---|---|\n" + strings.Join(rows, "\n") + "\n"
}
