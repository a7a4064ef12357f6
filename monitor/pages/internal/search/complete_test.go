package search_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/evently/workers/monitor/pages/internal/keep"
	"github.com/evently/workers/monitor/pages/internal/search"
	"github.com/evently/workers/store/ledger"
)

// figures are those of a history with one class and two domains.
type figures struct{ fault error }

func (f figures) Classes(context.Context, time.Time, time.Time) ([]ledger.ClassCount, error) {
	return []ledger.ClassCount{{Kind: "otp", Class: "address", N: 3}, {Kind: "welcome", Class: "address", N: 2}}, f.fault
}

func (f figures) Domains(context.Context, time.Time, time.Time, int) ([]ledger.DomainCount, error) {
	return []ledger.DomainCount{{Domain: "gmail.com", N: 9}, {Domain: "gmail.com", N: 4}, {Domain: "gmx.de", N: 1}, {N: 1}}, f.fault
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	c := search.Completer{Kinds: []string{"otp"}, Figures: figures{}, Cache: keep.New(time.Now), Now: time.Now}
	words := c.Words(t.Context(), []string{"user", "kind", "class", "domain"})
	if want := []string{"user:", "kind:", "kind:otp", "class:", "class:address", "domain:", "domain:gmail.com", "domain:gmx.de"}; !slices.Equal(words, want) {
		t.Errorf("%q, want %q", words, want)
	}
	c.Figures, c.Cache = figures{errors.New("the database does not answer")}, keep.New(time.Now)
	if words := c.Words(t.Context(), []string{"domain", "state"}); words[0] != "domain:" || words[1] != "state:" || !slices.Contains(words, "state:dead") {
		t.Errorf("without figures: %q", words)
	}
}
