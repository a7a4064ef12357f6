package search

import (
	"context"
	"slices"
	"time"

	"github.com/evently/workers/monitor/pages/internal/keep"
	"github.com/evently/workers/store/ledger"
)

// Figures are the counts whose classes and domains complete a search. [ledger.Reader] has them.
type Figures interface {
	Classes(ctx context.Context, since, until time.Time) ([]ledger.ClassCount, error)
	Domains(ctx context.Context, since, until time.Time, limit int) ([]ledger.DomainCount, error)
}

// Bounds of the values that complete a name.
const (
	figuresDays = 7
	mostValues  = 25 // of one name
)

// Completer completes the words of the search boxes over mails.
type Completer struct {
	Kinds   []string
	Figures Figures // nil: classes and domains have no values
	Cache   *keep.Cache
	Now     func() time.Time
}

// Words returns the words that complete a search: the names alone, and those with a value that
// the mails of the last days have, the most frequent first. A history that does not answer
// gives no values.
func (c Completer) Words(ctx context.Context, names []string) (words []string) {
	values := map[string][]string{"kind": c.Kinds}
	for _, s := range ledger.States() {
		values["state"] = append(values["state"], s.String())
	}
	if c.Figures != nil {
		known, err := keep.Get(c.Cache, "completions", func() (map[string][]string, error) { return c.figures(ctx) })
		if err == nil {
			values["class"], values["domain"] = known["class"], known["domain"]
		}
	}
	for _, n := range names {
		words = append(words, n+":")
		for _, v := range values[n] {
			words = append(words, n+":"+v)
		}
	}
	return words
}

// figures returns the classes and domains of the last days.
func (c Completer) figures(ctx context.Context) (map[string][]string, error) {
	until := c.Now()
	since := until.AddDate(0, 0, -figuresDays)
	classes, err := c.Figures.Classes(ctx, since, until)
	if err != nil {
		return nil, err
	}
	const rows = 1000 // of a domain there is one for each of its states and classes
	domains, err := c.Figures.Domains(ctx, since, until, rows)
	if err != nil {
		return nil, err
	}
	known := map[string][]string{}
	add := func(name, value string) {
		if all := known[name]; value != "" && len(all) < mostValues && !slices.Contains(all, value) {
			known[name] = append(all, value)
		}
	}
	for _, n := range classes {
		add("class", n.Class)
	}
	for _, n := range domains {
		add("domain", n.Domain)
	}
	return known, nil
}
