package worker

import (
	"context"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/internal/batch"
	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/internal/hold"
	"github.com/evently/workers/worker/internal/link"
	"github.com/evently/workers/worker/internal/pause"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/internal/ratelimit"
	"github.com/evently/workers/worker/internal/revoked"
	"github.com/evently/workers/worker/internal/rotation"
	"github.com/evently/workers/worker/internal/schedule"
	"github.com/evently/workers/worker/internal/taskevents"
)

const (
	// maxClaim bounds one claim, so that one script does not block Redis for long and one
	// worker does not take a whole queue at once.
	maxClaim = 100
	// acceptPatience is the time that a stop leaves for messages that were claimed.
	acceptPatience = time.Second
	// stallAfter is how long consuming may stall, with free slots, before the watchdog
	// drops the connections of the broker. It is longer than any call of a Broker.
	stallAfter = 12 * time.Second
)

// consumer claims messages and brings them to the pool.
type consumer struct {
	env
	broker    broker.Broker
	pipeliner broker.Pipeliner // nil: a claim takes a separate round trip
	selector  broker.Selector  // nil: nothing is claimed while tasks are held
	link      *link.Link
	pool      *pool.Pool[*request]
	schedule  *schedule.Schedule[*request] // requests that wait for their ETA
	limits    *ratelimit.Limiter[*request] // requests that wait for their rate limit
	held      *holdings
	holds     *hold.Set
	pauses    *pause.Keeper
	reader    *reader
	batch     *batch.Batcher[settlement]
	settler   *settler
	revoked   *revoked.Set
	exchange  *revoked.Exchange
	control   *control.Service
	events    taskevents.Writer
	counts    *counters
	calls     *calls
	stages    *stages
	stopNow   <-chan struct{}
	rotation  rotation.Rotation
}

// register tells the broker what to consume.
func (c *consumer) register() error {
	return c.broker.Consume(broker.Session{
		Node: c.cfg.Name, Queues: c.cfg.Queues, Decoder: *c.reader.decoder,
		Lost:         c.lost,
		DeadLettered: c.deadLettered,
		Refused: func(ctx context.Context, d broker.Delivery) {
			c.counts.received.Add(1)
			c.refuse(ctx, d, d.Refused.Reason)
		},
	})
}

// run consumes until ctx ends, and returns when that was.
func (c *consumer) run(ctx context.Context) (stopped time.Time) {
	var loops sync.WaitGroup
	loops.Go(func() { c.claimLoop(ctx) })
	loops.Go(func() { c.releaseDue(ctx) })
	loops.Go(func() { c.giveBackHeld(ctx) })
	loops.Go(func() { c.pauses.Run(ctx) })
	loops.Go(func() { c.limits.Run(ctx, c.stages.accept, c.admit) })
	loops.Go(func() { c.exchange.Run(ctx, c.revoked, c.now) })
	ended := make(chan struct{})
	var limiting sync.WaitGroup
	limiting.Go(func() { stopped = c.limitAccepting(ctx, ended) })
	loops.Wait()
	close(ended)
	limiting.Wait()
	c.stages.endAccept()
	return stopped
}

// limitAccepting bounds the time in which messages that were claimed before ctx ended must
// reach the pool or the broker, and returns when ctx ended. If the broker is unavailable,
// the leases of the messages run out.
func (c *consumer) limitAccepting(ctx context.Context, ended <-chan struct{}) (stopped time.Time) {
	<-ctx.Done()
	stopped = time.Now()
	patience := time.NewTimer(acceptPatience)
	defer patience.Stop()
	select {
	case <-ended:
		return stopped
	case <-patience.C:
	case <-c.stopNow:
		c.broker.Reset()
	}
	c.stages.endAccept()
	return stopped
}

// claimLoop claims messages while there is room, until ctx ends.
func (c *consumer) claimLoop(ctx context.Context) {
	var pause backoff.Backoff
	for known := false; ctx.Err() == nil; {
		if !known {
			// A worker that starts must not run tasks that were revoked before, nor take
			// messages from paused queues.
			err := c.exchange.Sync(c.stages.accept, c.revoked)
			if err == nil {
				err = c.pauses.Sync(c.stages.accept)
			}
			if err == nil {
				err = c.reader.workflow.learnSecret(c.stages.accept)
			}
			if err != nil {
				c.refused(ctx, &pause, err)
				continue
			}
			known = true
			c.control.AskRevoked(c.stages.accept)
		}
		ds, asked, err := c.claim(ctx)
		if asked == 0 && err == nil {
			continue
		}
		if err == nil && len(ds) == 0 {
			fine := c.link.LookedEmpty(c.now())
			c.rotation.Empty()
			if fine {
				pause.Reset()
			}
			if err := c.await(ctx, fine); err != nil && ctx.Err() == nil {
				c.link.WaitRefused(c.now(), err)
				c.tryLater(ctx, &pause, err)
			}
			continue
		}
		if err != nil && ctx.Err() == nil {
			c.refused(ctx, &pause, err)
			continue
		}
		if len(ds) == 0 {
			continue
		}
		c.link.Looked(c.now())
		pause.Reset()
		c.accept(ds)
		c.batch.ClaimDone()
		c.rotation.Rest(ctx)
	}
}

// claim claims as many messages as there is room for; asked is how many those are. Without
// room it waits until there may be some.
func (c *consumer) claim(ctx context.Context) (ds []broker.Delivery, asked int, err error) {
	// A claim that has begun is never cancelled: the messages would be held by this worker
	// without its knowledge. It has a separate deadline.
	room, patience := c.room()
	if room > 0 {
		asked = min(room, maxClaim)
		if names := c.holds.Names(); len(names) > 0 {
			ds, err = c.selector.ClaimExcept(c.stages.accept, names, asked)
			c.pool.NoteClaim(false)
			return ds, asked, err
		}
		ds, err = c.broker.Claim(c.stages.accept, asked)
		c.pool.NoteClaim(len(ds) == asked)
		return ds, asked, err
	}
	c.link.Full(c.now())
	if free, ending := c.turnover(); ending > 0 {
		ds, asked, err = c.pipeliner.ClaimAfter(c.stages.accept, free, ending, c.batch.ClaimReady)
		if len(ds) == 0 {
			c.batch.ClaimDone()
		}
		switch {
		case asked > 0:
			c.pool.NoteClaim(len(ds) == asked)
			if len(ds) == 0 && err == nil {
				asked = 0 // the next Claim looks further
			}
			return ds, asked, err
		case err != nil || patience <= pool.ShortRun:
			return nil, 0, err
		}
	}
	select {
	case <-ctx.Done():
	case <-c.pool.Changed():
	case <-time.After(patience): // an ETA task may have been lost or run
	}
	c.returnExcess()
	return nil, 0, nil
}

// refused notes a fault of the broker and waits a little.
func (c *consumer) refused(ctx context.Context, pause *backoff.Backoff, err error) {
	c.link.Refused(err)
	c.tryLater(ctx, pause, err)
}

// tryLater logs a fault of the broker and waits a little.
func (c *consumer) tryLater(ctx context.Context, pause *backoff.Backoff, err error) {
	if pause.Report() {
		c.log.Error("cannot consume, will try again", "error", err)
	}
	pause.Wait(ctx)
}

// holdPause is the time between two looks for other messages while tasks are held.
const holdPause = 250 * time.Millisecond

// giveBackHeld gives back messages that wait for a slot or their rate limit when their tasks
// are held, until ctx ends.
func (c *consumer) giveBackHeld(ctx context.Context) {
	for {
		changed := c.holds.Changed()
		for _, r := range c.settler.where.withdraw(func(r *request) bool { return c.holds.Has(r.msg.Task) }) {
			c.settler.giveBackLater(r)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// awaitOthers waits a moment while tasks are held: the queues are not empty.
func (c *consumer) awaitOthers(ctx context.Context, changed <-chan struct{}) {
	pause := time.NewTimer(holdPause)
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-pause.C:
	}
	c.returnExcess()
}

// await waits for messages, and meanwhile gives back messages that others can run sooner. It
// waits briefly after a refusal, so that its end is noticed soon.
func (c *consumer) await(ctx context.Context, fine bool) error {
	if changed := c.holds.Changed(); c.holds.Any() {
		c.awaitOthers(ctx, changed)
		return nil
	}
	patience := link.ProofTime
	switch {
	case c.cfg.prefetch().Adaptive() && c.pool.Waiting() > 0:
		patience = pool.StaleAfter
	case fine:
		return c.broker.Wait(ctx)
	}
	brief, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := c.broker.Wait(brief)
	c.returnExcess()
	return err
}

// returnExcess requeues prefetched messages that another worker could run sooner.
func (c *consumer) returnExcess() {
	if rs := c.pool.Excess(); len(rs) > 0 {
		c.log.Debug("prefetched messages given back: tasks take longer than before", "messages", len(rs))
		c.settler.giveBack(c.stages.accept, rs)
	}
}

// room returns the number of messages to claim now. When there is none, patience is how
// long to wait for a change at most.
func (c *consumer) room() (n int, patience time.Duration) {
	if c.blocked() {
		return 0, pool.StaleAfter
	}
	return c.pool.Room(c.limits.Len())
}

// turnover returns the free slots and how many more will be freed by runs about to finish.
// Round trips for these then wait for a claim.
func (c *consumer) turnover() (free, ending int) {
	if c.pipeliner == nil || c.holds.Any() || c.blocked() {
		return 0, 0
	}
	free, ending, ok := c.pool.Turnover(c.limits.Len())
	if !ok {
		return 0, 0
	}
	if ending += c.batch.ClaimComes(ending); free+ending <= 0 {
		c.batch.ClaimDone()
		return 0, 0
	}
	return min(free, maxClaim), min(ending, maxClaim)
}

// hasRoom reports whether there is room for messages now.
func (c *consumer) hasRoom() bool {
	return !c.blocked() && c.pool.HasRoom(c.limits.Len())
}

// blocked reports whether nothing may be claimed, whether or not the pool has room.
func (c *consumer) blocked() bool {
	return c.cfg.ETATaskLimit > 0 && c.schedule.Len() >= c.cfg.ETATaskLimit || deaf(c.calls, c.pool) || c.held.heavy() ||
		c.settler.returns.Busy() || c.selector == nil && c.holds.Any()
}

// deaf reports whether as many handlers as there are slots run on after their hard time
// limit, so that the limit has no effect any more.
func deaf(c *calls, p *pool.Pool[*request]) bool { return c.leftBehind() >= int64(max(p.Size(), 4)) }

// watch notices when consuming stalls though there is room, which the deadlines of the
// broker should make impossible, and rebuilds the connections.
func (c *consumer) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for rebuilt := c.now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		look, fault := c.link.State()
		if rebuilt.After(look) {
			look = rebuilt
		}
		if still := c.now().Sub(look); still > stallAfter && fault.Text == "" && c.hasRoom() {
			c.log.Error("consuming stalled, connections are rebuilt", "for", still.Round(time.Second).Seconds())
			c.broker.Reset()
			rebuilt = c.now()
		}
	}
}
