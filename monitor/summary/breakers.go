package summary

import (
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/vitals"
)

// phases orders the phases of breakers, the worst last.
var phases = []string{"closed", "half-open", "probing", "open"}

// breakers joins the breakers of one name of all processes.
func breakers(processes []vitals.Process) (all []Breaker) {
	for _, p := range processes {
		for _, b := range p.Report.Breakers {
			i := slices.IndexFunc(all, func(o Breaker) bool { return o.Name == b.Name })
			if i < 0 {
				all = append(all, Breaker{Name: b.Name, Phase: "closed"})
				i = len(all) - 1
			}
			all[i].join(p.Node, b)
		}
	}
	sorting.By(all, func(a, b Breaker) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (b *Breaker) join(node string, other monitor.Breaker) {
	rank := func(phase string) int { return slices.Index(phases, phase) }
	if b.Phase == "closed" && other.State != "closed" {
		b.Nodes = nil // from now on those in trouble
	}
	if b.Phase == "closed" || other.State != "closed" {
		if !slices.Contains(b.Nodes, node) {
			b.Nodes = append(b.Nodes, node)
		}
	}
	if rank(other.State) > rank(b.Phase) {
		b.Phase, b.Reason = other.State, other.Reason
	}
	// A half-open breaker still names the outage that it comes from: the server refuses no more.
	b.Refused = b.Refused || other.Refused && (other.State == "open" || other.State == "probing")
	if since, err := time.Parse(time.RFC3339, other.Since); err == nil && (b.Since.IsZero() || since.Before(b.Since)) {
		b.Since = since
	}
}
