package desk

import (
	"context"

	"github.com/evently/workers/store/ledger"
)

// Mails lists the history of mails. [ledger.Reader] does.
type Mails interface {
	List(ctx context.Context, f ledger.Filter) (ledger.Page, error)
}

// Recipients adds the masked addresses and the domains of users to dead letters, which only
// the history knows. Mails that a worker has not given up are not looked at.
func Recipients(ctx context.Context, mails Mails, items []Item) error {
	const page, mostPages = 1000, 50
	missing := map[string][]*Item{}
	for i := range items {
		if it := &items[i]; it.To == "" && it.UserID != nil && it.TaskID != "" {
			missing[it.TaskID] = append(missing[it.TaskID], it)
		}
	}
	f := ledger.Filter{States: []ledger.State{ledger.Rejected, ledger.Dead, ledger.Unknown}, Limit: page}
	for range mostPages {
		if len(missing) == 0 {
			break
		}
		found, err := mails.List(ctx, f)
		if err != nil {
			return err
		}
		for _, m := range found.Mails {
			for _, it := range missing[m.TaskID] {
				it.To, it.Domain = m.To, m.Domain
			}
			delete(missing, m.TaskID)
		}
		if found.Next == "" {
			break
		}
		f.After = found.Next
	}
	return nil
}
