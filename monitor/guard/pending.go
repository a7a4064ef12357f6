package guard

import (
	"context"
	"time"
)

// note is a change that the store has not got.
type note struct {
	value []byte // nil: remove
	until time.Time
}

// flush brings to the store what it has not got.
func (s *sessions) flush(ctx context.Context) {
	s.mu.Lock()
	now := s.now()
	if len(s.pending) == 0 || now.Sub(s.flushed) < flushEvery {
		s.mu.Unlock()
		return
	}
	s.flushed = now
	due := make(map[string]note, len(s.pending))
	for name, n := range s.pending {
		due[name] = n
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	for name, n := range due {
		err := ctx.Err()
		switch rest := n.until.Sub(now); {
		case err != nil:
		case n.value == nil:
			err = s.store.Unpost(ctx, name)
		case rest > 0:
			err = s.store.Post(ctx, name, n.value, rest)
		}
		s.heard(err)
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.pending[name].until.Equal(n.until) {
			delete(s.pending, name)
		}
		s.mu.Unlock()
	}
}
