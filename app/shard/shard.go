// Package shard is one broker's side of a worker process: its connections, the engine that
// consumes it, the watch of its queues, and what writes its part of the history and of the
// audit trail. A process has one shard, or one for each broker of REDIS_URLS. The mail relays,
// the database of the users and their circuit breakers belong to the process.
package shard

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/app/platform"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
)

// Shard is one broker with what works on it. The fields are set once, before it runs; a nil
// one does nothing.
type Shard struct {
	Name string // of the broker; "": it is the only one

	Broker  *redis.Broker // of the worker, which closes it
	Aside   *redis.Broker // of what goes on when the worker has ended
	Worker  *worker.Worker
	Watch   *watch.Watch // of the queues
	Auditor *Auditor
	Ledger  *ledger.Writer // of the history

	Platform *platform.Platform // listens to events of the platform

	Mails *monitor.Mails // counts of this broker
	Runs  *monitor.Runs
}

// Open returns a shard with its connections and the watch of its queues. open returns a broker
// that dials when it is used. The caller must call Close.
func Open(name string, queues []string, open func() (*redis.Broker, error), log *slog.Logger) (s *Shard, err error) {
	s = &Shard{Name: name, Mails: monitor.NewMails(), Runs: monitor.NewRuns()}
	if s.Broker, err = open(); err != nil {
		return s, err
	}
	if s.Aside, err = open(); err != nil {
		return s, err
	}
	s.Watch = newWatch(queues, s.Broker, log)
	return s, nil
}

// node returns the node name of the worker.
func (s *Shard) node() string { return s.Worker.Status().Node }

// consumes reports whether the broker answers the worker.
func (s *Shard) consumes() bool { return s.Worker != nil && s.Worker.Status().Consuming }

// WorkerOf tags the name of a worker in the history with the broker that its task came from.
func (s *Shard) WorkerOf(node string) string {
	if s.Name == "" {
		return node
	}
	return node + "/" + s.Name
}

// server tells which server Sentinels or a cluster have named, see [redis.Broker.Server].
func (s *Shard) server() string {
	if s.Broker == nil {
		return ""
	}
	return s.Broker.Server()
}

// Health returns what the health server asks of the broker's side. off tells why there is no
// history; "" if there is one.
func (s *Shard) Health(off string) monitor.BrokerConfig {
	c := monitor.BrokerConfig{
		Name:   s.Name,
		Worker: func() monitor.WorkerState { return workerState(s.Worker.Status()) },
		Ledger: func() monitor.LedgerState { return ledgerState(s.Ledger, off) },
		Mails:  s.Mails, Runs: s.Runs,
		Queues: func() monitor.QueuesState { return queuesState(s.Watch.State(), s.server()) },
		Events: s.Platform.State, Collectors: s.Platform.Collectors(),
	}
	if s.Broker != nil {
		c.Letters = s.Broker.LetterCounts
	}
	if s.Watch != nil {
		c.Collectors = append(c.Collectors, s.Watch.Collector())
	}
	return c
}

// run runs the worker until ctx ends, and the watch as long. Its other parts run until
// outlive ends. It calls stop when the worker begins to stop by itself, and ended when it has
// ended.
func (s *Shard) run(ctx, outlive context.Context, stop, ended func()) error {
	var g errgroup.Group
	if s.Ledger != nil {
		g.Go(func() error { return s.Ledger.Run(outlive) })
	}
	if s.Auditor != nil {
		g.Go(func() error { return s.Auditor.Run(outlive) })
	}
	g.Go(func() error { return s.Platform.Run(ctx) })
	watching, unwatch := context.WithCancel(outlive)
	defer unwatch()
	if s.Watch != nil {
		g.Go(func() error { return s.Watch.Run(watching) })
	}
	g.Go(func() error {
		select {
		case <-s.Worker.Stopping():
			stop()
		case <-watching.Done(): // the worker has ended
		}
		return nil
	})
	g.Go(func() error {
		defer ended()
		defer unwatch() // the worker has closed the connections
		return s.Worker.Run(ctx)
	})
	return g.Wait()
}

// Close closes the connections. The worker closes its own when it ran.
func (s *Shard) Close() {
	if s.Broker != nil {
		_ = s.Broker.Close()
	}
	if s.Aside != nil {
		_ = s.Aside.Close()
	}
}

// Set is all shards of a process, in the order of the configuration.
type Set []*Shard

// Run runs the workers until ctx ends, or until one of them stops by itself: a command to shut
// down and a limit of memory are about the process. So all stop at the same time. It calls end
// when the last worker has ended. The other parts run until outlive ends.
func (all Set) Run(ctx, outlive context.Context, end func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	var working atomic.Int64
	working.Store(int64(len(all)))
	for _, s := range all {
		g.Go(func() error {
			return s.run(ctx, outlive, cancel, func() {
				cancel() // also after an error
				if working.Add(-1) == 0 {
					end()
				}
			})
		})
	}
	return g.Wait()
}

// Hold is [worker.Worker.Hold] for all.
func (all Set) Hold(names ...string) {
	for _, s := range all {
		s.Worker.Hold(names...)
	}
}

// StopNow is [worker.Worker.StopNow] for all.
func (all Set) StopNow() {
	for _, s := range all {
		s.Worker.StopNow()
	}
}

// Depth counts the messages in the queues of the brokers that answer.
func (all Set) Depth(ctx context.Context) (n int, err error) {
	var errs []error
	for _, s := range all.live() {
		some, err := s.Broker.Depth(ctx)
		n, errs = n+some, append(errs, err)
	}
	return n, errors.Join(errs...)
}

// live returns the shards whose broker answers; all of them if none does, for their errors.
func (all Set) live() Set {
	var some Set
	for _, s := range all {
		if s.consumes() {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return all
	}
	return some
}

// Live returns the brokers that answer; all of them if none does.
func (all Set) Live() []*redis.Broker {
	var some []*redis.Broker
	for _, s := range all.live() {
		some = append(some, s.Broker)
	}
	return some
}

// Close closes all.
func (all Set) Close() {
	for _, s := range all {
		s.Close()
	}
}
