// Package fleet keeps state that all workers of a Redis database have in common: named
// leases, notices and rate limits.
package fleet

import (
	"context"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/scripts"
)

// Fleet implements [broker.Admitter], [broker.Board] and [broker.Leaser]. Make one with New.
type Fleet struct {
	conns   *conn.Conns
	scripts *scripts.Scripts
	prefix  string
}

// New returns a Fleet whose keys begin with prefix.
func New(conns *conn.Conns, s *scripts.Scripts, prefix string) *Fleet {
	return &Fleet{conns: conns, scripts: s, prefix: prefix}
}

// script runs a script with keysAndArgs, of which the first n are keys.
func (f *Fleet) script(ctx context.Context, script scripts.Script, n int, keysAndArgs ...any) (reply any, err error) {
	err = f.conns.Do(ctx, func(c redigo.Conn) error {
		reply, err = script().Do(c, append([]any{n}, keysAndArgs...)...)
		return err
	})
	return reply, err
}

func (f *Fleet) lease(name string) string { return f.prefix + "lease." + name }

func (f *Fleet) notice(name string) string { return f.prefix + "board." + name }

// notices returns the keys of notices.
func (f *Fleet) notices(names []string) []any {
	keys := make([]any, len(names))
	for i, name := range names {
		keys[i] = f.notice(name)
	}
	return keys
}

// milliseconds returns a duration as the option PX takes it.
func milliseconds(d time.Duration) int64 { return max(1, d.Milliseconds()) }

// Lease implements [broker.Leaser].
func (f *Fleet) Lease(ctx context.Context, name, owner string, d time.Duration) (bool, error) {
	held, err := redigo.Bool(f.script(ctx, f.scripts.Lease, 1, f.lease(name), owner, milliseconds(d)))
	if err != nil {
		return false, fmt.Errorf("take the lease %s: %w", name, err)
	}
	return held, nil
}

// Release implements [broker.Leaser].
func (f *Fleet) Release(ctx context.Context, name, owner string) error {
	if _, err := f.script(ctx, f.scripts.Unlock, 1, f.lease(name), owner); err != nil {
		return fmt.Errorf("release the lease %s: %w", name, err)
	}
	return nil
}

// Post implements [broker.Board].
func (f *Fleet) Post(ctx context.Context, name string, value []byte, d time.Duration) error {
	if len(value) > broker.MaxNotice {
		return fmt.Errorf("post the notice %s: it has %d bytes, want at most %d", name, len(value), broker.MaxNotice)
	}
	err := f.conns.Do(ctx, func(c redigo.Conn) error {
		_, err := c.Do("SET", f.notice(name), value, "PX", milliseconds(d))
		return err
	})
	if err != nil {
		return fmt.Errorf("post the notice %s: %w", name, err)
	}
	return nil
}

// Posted implements [broker.Board].
func (f *Fleet) Posted(ctx context.Context, names ...string) (values [][]byte, err error) {
	if len(names) == 0 {
		return nil, nil
	}
	err = f.conns.Do(ctx, func(c redigo.Conn) error {
		values, err = redigo.ByteSlices(c.Do("MGET", f.notices(names)...))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	return values, nil
}

// Unpost implements [broker.Board].
func (f *Fleet) Unpost(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	err := f.conns.Do(ctx, func(c redigo.Conn) error {
		_, err := c.Do("DEL", f.notices(names)...)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove notices: %w", err)
	}
	return nil
}
