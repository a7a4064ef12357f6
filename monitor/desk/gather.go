package desk

import (
	"context"

	"github.com/evently/workers/worker/broker"
)

// Lister reads dead letters, the newest first. Those of worker/redis do.
type Lister interface {
	Each(ctx context.Context, fn func(broker.DeadLetter) error, states ...broker.LetterState) error
}

// Gather returns what may be shown of the letters that a filter chooses, the newest first,
// without their messages. The domain of a user is not known here: [Recipients] adds it.
func Gather(ctx context.Context, l Lister, f Filter) ([]Item, error) {
	f.Domains = nil
	var items []Item
	err := l.Each(ctx, func(l broker.DeadLetter) error {
		it := New(l)
		it.Raw = nil
		if f.Chooses(&it) {
			items = append(items, it)
		}
		return nil
	}, f.States...)
	return items, err
}

// Choose returns the items that a filter chooses, in their order.
func (f Filter) Choose(items []Item) (chosen []Item) {
	for i := range items {
		if f.Chooses(&items[i]) {
			chosen = append(chosen, items[i])
		}
	}
	return chosen
}

// Group returns the causes of items, the most frequent first.
func (c Causes) Group(items []Item) []Cause {
	for i := range items {
		c.Add(&items[i])
	}
	return c.List()
}
