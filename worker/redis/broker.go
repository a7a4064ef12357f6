package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/feed"
	"github.com/evently/workers/worker/redis/internal/fleet"
	"github.com/evently/workers/worker/redis/internal/journal"
)

// Broker is a connection to one Redis database, as broker and result backend. Make one
// with New. It consumes for one worker, once: each worker needs a separate Broker. Any
// number of Clients may publish through it.
type Broker struct {
	*shared // implements broker.Admitter, broker.Board and broker.Leaser
	*feed.Feed
	views

	server      *server
	consumer    *consumer
	claimer     *claimer
	settler     *settler
	leases      *leases
	recovery    *recovery
	waiter      *waiter
	results     *results
	control     *control
	revocations *revocations
	checks      *checks
}

var (
	_ broker.Broker       = (*Broker)(nil)
	_ broker.Backend      = (*Broker)(nil)
	_ broker.Revoker      = (*Broker)(nil)
	_ broker.Emitter      = (*Broker)(nil)
	_ broker.Remote       = (*Broker)(nil)
	_ broker.QueueSet     = (*Broker)(nil)
	_ broker.Depther      = (*Broker)(nil)
	_ broker.Describer    = (*Broker)(nil)
	_ broker.Faulter      = (*Broker)(nil)
	_ broker.Namer        = (*Broker)(nil)
	_ broker.Limiter      = (*Broker)(nil)
	_ broker.Admitter     = (*Broker)(nil)
	_ broker.Leaser       = (*Broker)(nil)
	_ broker.Board        = (*Broker)(nil)
	_ broker.Selector     = (*Broker)(nil)
	_ broker.SecretKeeper = (*Broker)(nil)
	_ broker.Pipeliner    = (*Broker)(nil)
	_ broker.Marker       = (*Broker)(nil)
	_ broker.Outbox       = (*Broker)(nil)
)

// New checks cfg and returns a Broker, for one worker and one run of it. It does not dial:
// an unavailable server is waited for.
func New(cfg Config) (*Broker, error) {
	cfg, addr, err := cfg.normalise()
	if err != nil {
		return nil, err
	}
	s, err := newServer(cfg, addr)
	if err != nil {
		return nil, err
	}
	c, held, p, w := newConsumer(), newHoldings(), &pipeline{}, newWaiter(s)
	leases := newLeases(s, c, held)
	indexer := &indexer{server: s}
	recovery := newRecovery(s, c, held, leases, indexer)
	claimer := newClaimer(s, c, held, leases, recovery, p, w)
	results := newResults(s)
	return &Broker{
		shared: fleet.New(s.conns, s.scripts, s.keys.own),
		Feed:   feed.New(s.conns, s.scripts, s.keys.own, s.log),
		views:  views{s},
		server: s, consumer: c, claimer: claimer, settler: newSettler(s, held, results, p), leases: leases, recovery: recovery,
		waiter: w, results: results, control: &control{s}, revocations: &revocations{s}, checks: newChecks(s, indexer, claimer.consumed),
	}, nil
}

// Close drops all connections and waits for the goroutine that listens for results. Only a
// Broker without a Run needs it.
func (b *Broker) Close() error {
	b.results.listener.Close()
	return b.server.conns.Close()
}

// Consume implements [broker.Broker]. The second call is an error.
func (b *Broker) Consume(s broker.Session) error {
	if err := b.server.cfg.checkWeights(s.Queues); err != nil {
		return fmt.Errorf("redis broker: %w", err)
	}
	for _, q := range s.Queues {
		if fault := b.QueueFault(q); fault != "" {
			return fmt.Errorf("redis broker: %q is not the name of a queue: %s", q, fault)
		}
	}
	if !b.consumer.take(s) {
		return errors.New("redis broker: it serves a worker already, or has served one: make a Broker of its own for each worker")
	}
	b.claimer.consume(s.Queues)
	return nil
}

// Run implements [broker.Broker].
func (b *Broker) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	b.waiter.peekers.start(ctx)
	if b.server.conns.Follows() {
		loops.Go(func() { b.every(ctx, conn.FollowInterval, "ask for the master", b.server.conns.FollowMaster) })
	}
	loops.Go(func() { b.once(ctx, "look at the server", b.checks.advise) })
	loops.Go(func() { b.settler.announcer.Run(ctx) })
	loops.Go(func() { b.checks.run(ctx, b.reporting("look at the types of keys", b.checks.checkKeys)) })
	loops.Go(func() { b.every(ctx, b.leases.renewInterval(), "renew leases", b.leases.renew) })
	loops.Go(func() { b.every(ctx, keyCheckSoon, "look at the streams of tasks", b.checks.checkStreams) })
	loops.Go(func() { b.server.letters.Run(ctx, b.reporting("keep the dead letters tidy", b.server.letters.Look)) })
	heartbeat := b.server.cfg.OwnerTimeout / 5
	loops.Go(func() { b.every(ctx, heartbeat, "keep up the heartbeat", b.waiter.observe(b.leases.beat)) })
	// Not in the loop of the heartbeat: a recovery takes long, and a worker without a
	// heartbeat counts as dead itself.
	loops.Go(func() { b.every(ctx, heartbeat, "recover from dead workers", b.recovery.recoverOwners) })
	loops.Go(func() { b.every(ctx, b.recovery.interval(), "recover expired messages", b.recovery.recoverExpired) })
	done := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(done)
		b.Reset() // commands that wait for a reply need not
	})
	loops.Wait()
	b.waiter.peekers.wait()
	<-done // Reset must not cut the following commands
	b.server.conns.Unfollow()
	if !b.claimer.inDoubt() {
		b.leases.leave()
	}
	return b.Close()
}

// every calls step at once and then in intervals, until ctx ends. It logs the first fault of
// a row, then one in ten seconds, and tries again soon.
func (b *Broker) every(ctx context.Context, interval time.Duration, doing string, step func(context.Context) error) {
	step = b.reporting(doing, step)
	for {
		wait := interval
		if step(ctx) != nil {
			wait = min(interval, time.Second/2)
		}
		if backoff.Sleep(ctx, wait) != nil {
			return
		}
	}
}

// reporting returns step with a log of its faults.
func (b *Broker) reporting(doing string, step func(context.Context) error) func(context.Context) error {
	var faults backoff.Backoff
	return func(ctx context.Context) error {
		err := step(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !conn.IsReply(err) {
			b.server.letters.Doubt()
		}
		if faults.Report() {
			b.log().Error(happened(err), "doing", doing, "error", err)
		}
		return err
	}
}

// once calls step until it succeeds or ctx ends. The other loops report faults of the server.
func (b *Broker) once(ctx context.Context, doing string, step func(context.Context) error) {
	for ctx.Err() == nil {
		err := step(ctx)
		if err == nil {
			return
		}
		b.log().Debug(happened(err), "doing", doing, "error", err)
		_ = backoff.Sleep(ctx, 5*time.Second) // the loop checks ctx
	}
}

func (b *Broker) log() *slog.Logger { return b.server.log }

// Wait implements [broker.Broker].
func (b *Broker) Wait(ctx context.Context) error { return b.waiter.wait(ctx) }

// Claim implements [broker.Broker].
func (b *Broker) Claim(ctx context.Context, max int) ([]broker.Delivery, error) {
	if err := b.server.fit(); err != nil {
		return nil, fmt.Errorf("claim messages: %w", err)
	}
	return b.claimer.claim(ctx, max)
}

// ClaimExcept implements [broker.Selector]. It takes the lists of the queues in the order of
// their priorities, and ignores QueueOrder and QueueWeights.
func (b *Broker) ClaimExcept(ctx context.Context, names []string, max int) ([]broker.Delivery, error) {
	if err := b.server.fit(); err != nil {
		return nil, fmt.Errorf("claim messages: %w", err)
	}
	return b.claimer.claimExcept(ctx, names, max)
}

// ClaimAfter implements [broker.Pipeliner].
func (b *Broker) ClaimAfter(ctx context.Context, max, ends int, ready func()) (ds []broker.Delivery, asked int, err error) {
	return b.claimer.claimAfter(ctx, max, ends, ready)
}

// Start implements [broker.Broker].
func (b *Broker) Start(ctx context.Context, d broker.Delivery, st broker.Start) (broker.Started, error) {
	return b.settler.start(ctx, d, st)
}

// Held implements [broker.Broker].
func (b *Broker) Held(ctx context.Context, claim string) (bool, error) {
	return b.leases.isHeld(ctx, claim)
}

// Mark implements [broker.Marker].
func (b *Broker) Mark(ctx context.Context, m broker.Marking) (earlier string, err error) {
	return b.leases.mark(ctx, m)
}

// Oldest implements [broker.Outbox].
func (b *Broker) Oldest(ctx context.Context, stream string, max int) ([]broker.Recorded, error) {
	return b.server.outbox.Oldest(ctx, stream, max)
}

// Remove implements [broker.Outbox].
func (b *Broker) Remove(ctx context.Context, stream string, ids []string) error {
	return b.server.outbox.Remove(ctx, stream, ids)
}

// Backlog implements [broker.Outbox].
func (b *Broker) Backlog(ctx context.Context, stream string) (broker.Backlog, error) {
	return b.server.outbox.Backlog(ctx, stream)
}

// Settle implements [broker.Broker].
func (b *Broker) Settle(ctx context.Context, s broker.Settlement) (broker.Settled, error) {
	return b.settler.settle(ctx, s)
}

// SettleAll implements [broker.Batcher].
func (b *Broker) SettleAll(ctx context.Context, ss []broker.Settlement) []error {
	return b.settler.settleAll(ctx, ss)
}

// Return implements [broker.Broker].
func (b *Broker) Return(ctx context.Context, ds []broker.Delivery) error {
	return b.recovery.giveBackAll(ctx, ds)
}

// Reset implements [broker.Broker].
func (b *Broker) Reset() { b.server.conns.Reset() }

// Renew closes idle connections, and those in use when they are returned, so that the next ones
// log in by Config.Credentials. Subscriptions stay.
func (b *Broker) Renew() { b.server.conns.Renew() }

// AddQueue implements [broker.QueueSet].
func (b *Broker) AddQueue(ctx context.Context, queue string) (bool, error) {
	return b.claimer.addQueue(ctx, queue)
}

// CancelQueue implements [broker.QueueSet]. Messages that were claimed from the queue stay
// claimed and run.
func (b *Broker) CancelQueue(_ context.Context, queue string) (bool, error) {
	return b.claimer.cancelQueue(queue), nil
}

// QueueFault implements [broker.Namer].
func (b *Broker) QueueFault(queue string) string { return b.server.queueFault(queue) }

// Depths returns the number of waiting messages in each consumed queue.
func (b *Broker) Depths(ctx context.Context) (map[string]int, error) { return b.claimer.depths(ctx) }

// Depth implements [broker.Depther].
func (b *Broker) Depth(ctx context.Context) (sum int, err error) {
	depths, err := b.claimer.depths(ctx)
	for _, n := range depths {
		sum += n
	}
	return sum, err
}

// Publish implements [broker.Backend]. Changes that are too many for one script go in
// several, the messages last.
func (b *Broker) Publish(ctx context.Context, c broker.Changes) error {
	return b.settler.publish(ctx, c)
}

// Results implements [broker.Backend].
func (b *Broker) Results(ctx context.Context, ids []string) ([]*protocol.Result, error) {
	return b.results.read(ctx, ids)
}

// Await implements [broker.Backend].
func (b *Broker) Await(ctx context.Context, id string) (*protocol.Result, error) {
	return b.results.await(ctx, id)
}

// Forget implements [broker.Backend].
func (b *Broker) Forget(ctx context.Context, ids []string) error { return b.results.forget(ctx, ids) }

// Group implements [broker.Backend].
func (b *Broker) Group(ctx context.Context, id string) (protocol.Raw, error) {
	return b.results.group(ctx, id)
}

// Take implements [broker.Limiter].
func (b *Broker) Take(ctx context.Context, limit string, every time.Duration) (time.Duration, error) {
	n, err := b.server.scriptInt(ctx, b.server.scripts.Take, 1, b.server.keys.limit(limit), every.Microseconds())
	if err != nil {
		return 0, fmt.Errorf("take from the rate limit of %s: %w", limit, err)
	}
	return time.Duration(n) * time.Microsecond, nil
}

// Revoke implements [broker.Revoker].
func (b *Broker) Revoke(ctx context.Context, r broker.Revocation) error {
	return b.revocations.revoke(ctx, r)
}

// Revoked implements [broker.Revoker].
func (b *Broker) Revoked(ctx context.Context, since string) (r broker.Revocation, next string, err error) {
	return b.revocations.since(ctx, since)
}

// Listen implements [broker.Remote].
func (b *Broker) Listen(ctx context.Context, l broker.Listening) error {
	return b.control.listen(ctx, l)
}

// Reply implements [broker.Remote].
func (b *Broker) Reply(ctx context.Context, to protocol.ReplyTo, raw []byte) error {
	return b.control.reply(ctx, to, raw)
}

// Ask implements [broker.Remote].
func (b *Broker) Ask(ctx context.Context, request []byte, routingKey string, receive func(raw []byte)) error {
	return b.control.ask(ctx, request, routingKey, receive)
}

// Broadcast implements [broker.Remote].
func (b *Broker) Broadcast(ctx context.Context, request []byte) error {
	_, err := b.control.broadcast(ctx, request)
	return err
}

// Emit implements [broker.Emitter].
func (b *Broker) Emit(ctx context.Context, es ...broker.Emission) error {
	return b.control.emit(ctx, es...)
}

// Info implements [broker.Describer].
func (b *Broker) Info() broker.Info { return b.server.info() }

// Faults implements [broker.Faulter].
func (b *Broker) Faults() []string { return b.checks.found() }

// Secret implements [broker.SecretKeeper]. When its key has another type, or the user must not
// use it, it returns one for this process. Tasks of other workers are then not recognised.
func (b *Broker) Secret(ctx context.Context) ([]byte, error) {
	mine := []byte(rand.Text())
	secret, err := b.server.storedSecret(ctx, mine)
	switch {
	case conn.HasCode(err, "WRONGTYPE"), conn.HasCode(err, "NOPERM"):
		b.server.log.Error("secret of the fingerprints cannot be used, tasks of other workers are not recognised", "key", b.server.keys.secret(), "error", err)
		return mine, nil
	case err != nil:
		return nil, fmt.Errorf("read the secret of the fingerprints: %w", err)
	}
	return secret, nil
}

// Journal is a stream whose writers agree on an order. [Broker.Journal] returns it.
type Journal = journal.Journal

// Journal returns the journal with a name. It needs no Run of the Broker.
func (b *Broker) Journal(name string) *Journal {
	s, k := b.server, b.server.keys
	return journal.New(journal.Config{
		Name: name, Do: s.do, Append: s.scripts.Journal, Outbox: s.outbox,
		Head: k.own + "head." + name, Stream: k.stream(name), Losses: k.losses(name), Notes: k.own + "notes." + name,
	})
}
