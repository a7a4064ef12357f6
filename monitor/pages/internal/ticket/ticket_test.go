package ticket_test

import (
	"testing"
	"time"

	"github.com/evently/workers/monitor/pages/internal/ticket"
)

func TestTickets(t *testing.T) {
	now := time.Now()
	b := ticket.New[int](time.Minute, 2, func() time.Time { return now })
	first := b.Issue("ada", 1)
	if v, ok := b.Get(first, "ada"); !ok || v != 1 {
		t.Error(v, ok)
	}
	for _, other := range [][2]string{{first, "bob"}, {first, ""}, {"", "ada"}, {"x", "ada"}} {
		if _, ok := b.Get(other[0], other[1]); ok {
			t.Errorf("%q is good", other)
		}
	}
	now = now.Add(time.Second)
	second := b.Issue("ada", 2)
	now = now.Add(time.Second)
	third := b.Issue("ada", 3)
	if _, ok := b.Get(first, "ada"); ok {
		t.Error("more tickets than are kept")
	}
	if v, ok := b.Get(second, "ada"); !ok || v != 2 {
		t.Error(v, ok)
	}
	b.Drop(second)
	if _, ok := b.Get(second, "ada"); ok {
		t.Error("a dropped ticket is good")
	}
	now = now.Add(2 * time.Minute)
	if _, ok := b.Get(third, "ada"); ok {
		t.Error("an old ticket is good")
	}
}
