// Package logins connects with logins that are replaced while a process runs.
package logins

import (
	"context"
	"slices"
)

// most bounds the logins that one connection tries: the current one, a newer one and the previous
// one.
const most = 3

// Source gives logins of one type.
type Source[L comparable] interface {
	Next(ctx context.Context, refused []L) (L, error)
	Accepted(L)
}

// Try calls dial with one login after the other, until refuses reports false for its error. The
// attempt ends, with the last refusal, when the source returns a login again or an error.
func Try[L comparable, C any](ctx context.Context, source Source[L], dial func(L) (C, error), refuses func(error) bool) (C, error) {
	var refused []L
	var refusal error
	var none C
	for len(refused) < most {
		login, err := source.Next(ctx, refused)
		switch {
		case slices.Contains(refused, login):
			return none, refusal
		case err != nil && refusal != nil:
			return none, refusal // it tells more
		case err != nil:
			return none, err
		}
		c, err := dial(login)
		if err == nil {
			source.Accepted(login)
			return c, nil
		}
		if !refuses(err) {
			return none, err
		}
		refused, refusal = append(refused, login), err
	}
	return none, refusal
}
