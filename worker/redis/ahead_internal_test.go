package redis

import (
	"slices"
	"testing"

	"github.com/evently/workers/worker/broker"
)

// Where other workers are quicker, the claimer stops looking ahead for a while, and longer
// when they are quicker again.
func TestRivals(t *testing.T) {
	b, err := New(Config{URL: "redis://127.0.0.1:1/0"})
	if err != nil {
		t.Fatal(err)
	}
	l := list{key: "q", queue: "q"}
	b.claimer.lists = []list{l}
	b.claimer.choice = b.server.cfg.choice([]string{"q"})
	messages := []seen{{raw: []byte("a")}, {raw: []byte("b")}}
	// claims is how many claims are made without a look, until one looks again.
	claims := func() (n int) {
		for full := (claimed{deliveries: []broker.Delivery{{Raw: []byte("a")}}, lists: []int{1}}); ; n++ {
			if b.claimer.expect(full, 1); b.claimer.ahead.list == 0 {
				return n
			}
		}
	}
	answer := func(gone, claimed int) {
		t.Helper()
		if _, err := b.claimer.readSeen(l, messages, 0, []any{int64(gone), int64(claimed)}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	for range 7 {
		answer(2, 0) // all gone
		got = append(got, claims())
	}
	if want := []int{4, 8, 16, 32, 64, 64, 64}; !slices.Equal(got, want) {
		t.Errorf("claims without a look: %v, want %v", got, want)
	}
	answer(0, -1) // another list comes first: nothing was compared
	answer(1, 1)  // some are gone
	answer(2, 0)
	if n := claims(); n != 64 {
		t.Errorf("%d claims without a look, want 64 still", n)
	}
	answer(0, 2) // no rival
	if n := claims(); n != 0 {
		t.Errorf("%d claims without a look when alone", n)
	}
	answer(2, 0)
	if n := claims(); n != 4 {
		t.Errorf("%d claims without a look, want 4 again", n)
	}
}
