package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/pubsub"
)

// results reads stored results, and waits for them.
type results struct {
	*server
	listener *pubsub.Listener
}

func newResults(s *server) *results {
	return &results{server: s, listener: pubsub.NewListener(s.conns.Dial, s.log, s.keys.step("listener"))}
}

// resultsChunk bounds the keys of one read.
const resultsChunk = 1000

// read returns the stored result of each id, nil where there is none.
func (rs *results) read(ctx context.Context, ids []string) ([]*protocol.Result, error) {
	results := make([]*protocol.Result, 0, len(ids))
	for len(ids) > 0 {
		chunk := ids[:min(resultsChunk, len(ids))]
		ids = ids[len(chunk):]
		keys := make([]any, len(chunk))
		for i, id := range chunk {
			keys[i] = rs.keys.result(id)
		}
		var values [][]byte
		err := rs.do(ctx, func(c redigo.Conn) (err error) {
			values, err = redigo.ByteSlices(c.Do("MGET", keys...))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
		for i, value := range values {
			var r *protocol.Result
			if value != nil {
				if r, err = protocol.DecodeResult(value); err != nil {
					return nil, fmt.Errorf("read the result of %s: %w", chunk[i], err)
				}
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// forget removes results, and the structures of groups of these ids.
func (rs *results) forget(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	keys := make([]any, 0, 2*len(ids))
	for _, id := range ids {
		keys = append(keys, rs.keys.result(id), rs.keys.chordBase(id))
	}
	err := rs.do(ctx, func(c redigo.Conn) error {
		_, err := c.Do("DEL", keys...)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget results: %w", err)
	}
	return nil
}

// group returns the saved structure of a group, nil if there is none.
func (rs *results) group(ctx context.Context, id string) (protocol.Raw, error) {
	var value []byte
	err := rs.do(ctx, func(c redigo.Conn) (err error) {
		value, err = redigo.Bytes(c.Do("GET", rs.keys.chordBase(id)))
		return err
	})
	if errors.Is(err, redigo.ErrNil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the group %s: %w", id, err)
	}
	return protocol.Raw(value), nil
}

// awaitPoll is the interval at which await reads by itself, because results that are
// announced while the subscription is down are not heard.
const awaitPoll = 5 * time.Second

// await returns the result of a task once it is final, or the error of ctx.
func (rs *results) await(ctx context.Context, id string) (*protocol.Result, error) {
	key := rs.keys.result(id)
	told, leave, err := rs.listener.Join(key)
	if err != nil {
		return nil, err
	}
	defer leave()
	tick := time.NewTicker(awaitPoll)
	defer tick.Stop()
	var fault error
	for {
		// The first read comes when the subscription is confirmed.
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), fault)
		case <-told:
		case <-tick.C:
		}
		results, err := rs.read(ctx, []string{id})
		if fault = err; err != nil {
			continue
		}
		if r := results[0]; r != nil && final(r.Status) {
			return r, nil
		}
	}
}

// final reports whether a task in that state has ended (states.READY_STATES).
func final(status string) bool {
	return status == protocol.StateSuccess || status == protocol.StateFailure || status == protocol.StateRevoked
}
