package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/internal/conn"
)

// leases keeps the claims of this worker: it renews their leases and sends the heartbeat.
type leases struct {
	*server
	consumer *consumer
	held     *holdings

	lastBeat     atomic.Pointer[time.Time]        // when the last heartbeat was sent
	told         atomic.Pointer[map[string]int64] // counts of the last tell
	late         chan struct{}                    // capacity 1: one caller makes up for a late heartbeat
	judgeAfter   atomic.Pointer[time.Time]        // until then no owner counts as silent
	silentOwners atomic.Pointer[[]string]
}

func newLeases(s *server, c *consumer, held *holdings) *leases {
	return &leases{server: s, consumer: c, held: held, late: make(chan struct{}, 1)}
}

// renewInterval leaves room for several attempts within a lease, and for a scan of a peer
// that began before a renewal.
func (l *leases) renewInterval() time.Duration {
	return min(max(l.cfg.VisibilityTimeout/5, 200*time.Millisecond), 30*time.Second)
}

// renewChunk bounds one renewal script.
const renewChunk = 500

// renew renews the leases of all claims that are held.
func (l *leases) renew(ctx context.Context) error {
	claims := l.held.all()
	for len(claims) > 0 {
		chunk := claims[:min(renewChunk, len(claims))]
		claims = claims[len(chunk):]
		args := []any{l.keys.unacked, l.keys.index, l.keys.owner(l.consumer.id), l.consumer.epoch.Load()}
		for _, claim := range chunk {
			args = append(args, claim)
		}
		reply, err := redigo.Values(l.script(ctx, l.scripts.Renew, 3, args...))
		var known bool
		var gone []string
		if err == nil {
			_, err = redigo.Scan(reply, &known, &gone)
		}
		if err != nil {
			return fmt.Errorf("renew leases: %w", err)
		}
		if !known && len(gone) > 0 {
			// The server has lost its data, or an older state of it is back. Running tasks
			// may end; no other worker has them.
			l.log.Warn("redis has lost data: it does not know this worker any more")
			continue
		}
		for _, claim := range gone {
			// Claims that were settled while the script ran are not lost.
			if l.held.remove(claim) {
				l.consumer.lost(claim)
			}
		}
	}
	return nil
}

// beat sends the heartbeat, and learns which owners are silent. After a silence of its own
// it also renews the leases at once, because other workers may have reclaimed messages.
func (l *leases) beat(ctx context.Context) error {
	asked := time.Now()
	silent, err := redigo.Strings(l.script(ctx, l.scripts.Heartbeat, 2, l.keys.owners, l.keys.owner(l.consumer.id),
		l.consumer.id, l.cfg.OwnerTimeout.Seconds(), l.keys.owner("")))
	if conn.IsWrongType(err) {
		silent, err = nil, nil // no worker can read there which owners are silent
	}
	if err != nil {
		return err
	}
	l.silentOwners.Store(&silent)
	l.tell(ctx)
	if l.silentTooLong() {
		// All workers may have been silent, if the server was unavailable.
		l.judgeAfter.Store(new(time.Now().Add(l.cfg.OwnerTimeout)))
		l.log.Warn("heartbeat late: the process stood still, or redis did not answer", "late", elapsed(*l.lastBeat.Load()).Seconds())
		if err := l.renew(ctx); err != nil {
			return err
		}
	}
	l.lastBeat.Store(&asked)
	return nil
}

// mostTold bounds the queues whose counts are told.
const mostTold = 200

// tell writes how many messages were claimed from each queue, for monitors: messages that come
// and go between two looks at a queue are not seen otherwise. Nothing depends on it.
func (l *leases) tell(ctx context.Context) {
	counts := l.held.counts()
	if last := l.told.Load(); len(counts) == 0 || len(counts) > mostTold || last != nil && maps.Equal(*last, counts) {
		return
	}
	text, err := json.Marshal(counts)
	if err == nil {
		err = l.do(ctx, func(c redigo.Conn) error {
			_, err := redigo.DoContext(c, ctx, "HSET", l.keys.owner(l.consumer.id), "taken", text)
			return err
		})
	}
	if err != nil {
		l.log.Debug("counts of claimed messages not written", "error", err)
		return
	}
	l.told.Store(&counts)
}

// silentTooLong reports whether the last heartbeat is so old that other workers may soon
// reclaim our messages, or have done so.
func (l *leases) silentTooLong() bool {
	last := l.lastBeat.Load()
	return last != nil && l.tooLong(*last)
}

func (l *leases) tooLong(since time.Time) bool { return elapsed(since) > l.cfg.OwnerTimeout/2 }

// elapsed returns the time since then, by the clock that has counted more of it. The
// monotonic clock stands still while the machine sleeps, and the wall clock may be set
// back.
func elapsed(then time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

var errStale = errors.New("the answers come too late to be true")

// isHeld reports whether this worker still holds a claim. The reply is true only while
// other workers believe that this one lives. A late heartbeat is therefore sent first, and
// a reply that took long, perhaps because the process stood still, is discarded.
func (l *leases) isHeld(ctx context.Context, claim string) (held bool, err error) {
	err = l.ask(ctx, &held, func(c redigo.Conn) (err error) {
		held, err = redigo.Bool(redigo.DoContext(c, ctx, "HEXISTS", l.keys.unacked, claim))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask for the claim: %w", err)
	}
	return held, nil
}

// ask calls a question that sets held, until its answer is true when it arrives.
func (l *leases) ask(ctx context.Context, held *bool, question func(redigo.Conn) error) error {
	const most = 3
	for range most {
		if err := l.catchUp(ctx); err != nil {
			return err
		}
		asked := time.Now()
		if err := l.do(ctx, question); err != nil {
			return err
		}
		if !*held || !l.tooLong(asked) {
			return nil
		}
	}
	return errStale
}

// mark sets the mark of a task while its claim is held, and returns that of an earlier run.
// An answer counts as long as one of isHeld: setting the mark again is harmless.
func (l *leases) mark(ctx context.Context, m broker.Marking) (earlier string, err error) {
	key := l.keys.mark(m.Task)
	args := l.outbox.Append([]any{2, l.keys.unacked, key, m.Claim, m.Run, m.Value, flag(m.Alone)}, m.Entries)
	var held bool
	question := func(c redigo.Conn) error {
		reply, err := redigo.Values(l.scripts.Mark().DoContext(ctx, c, args...))
		if err == nil {
			_, err = redigo.Scan(reply, &held, &earlier)
		}
		return err
	}
	if m.Claim == "" {
		err = l.do(ctx, question)
	} else {
		err = l.ask(ctx, &held, question)
	}
	switch {
	case conn.IsWrongType(err):
		return "", fmt.Errorf("set the mark of a task: its key has another type, move it away with redis-cli -n %d RENAME %s %s: %w",
			l.addr.DB, shellQuote(key), shellQuote(key+".moved"), err)
	case conn.IsForbidden(err):
		return "", fmt.Errorf("set the mark of a task: the Redis user lacks a right, see docs/operations.md: %w", err)
	case err != nil:
		return "", fmt.Errorf("set the mark of a task: %w", err)
	case !held:
		return "", broker.ErrLost
	}
	return earlier, nil
}

// catchUp sends a late heartbeat. Of many callers only one does.
func (l *leases) catchUp(ctx context.Context) error {
	if !l.silentTooLong() {
		return nil
	}
	select {
	case l.late <- struct{}{}:
		defer func() { <-l.late }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !l.silentTooLong() {
		return nil
	}
	return l.beat(ctx)
}

// silent returns the owners whose heartbeat has stopped. After a silence of all workers it
// returns none for a while. When the server was unavailable, the first worker that is back
// would otherwise reclaim the messages of all others.
func (l *leases) silent() []string {
	owners := l.silentOwners.Load()
	if owners == nil {
		return nil
	}
	if at := l.judgeAfter.Load(); at != nil && time.Now().Before(*at) {
		return nil
	}
	return *owners
}

// leaveTimeout bounds leave, because nothing depends on it.
const leaveTimeout = time.Second

// leave removes this worker from the owners, unless it still holds claims: other workers
// reclaim them when the heartbeat has expired.
func (l *leases) leave() {
	if !l.held.empty() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	err := l.do(ctx, func(c redigo.Conn) error {
		if _, err := c.Do("ZREM", l.keys.owners, l.consumer.id); err != nil {
			return err
		}
		_, err := c.Do("DEL", l.keys.owner(l.consumer.id))
		return err
	})
	if err != nil {
		l.log.Warn("signing off failed, the owner's entry will expire", "error", err)
	}
}
