package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/tasks"
)

// outage keeps mails in their queues while they cannot be sent. It has a circuit breaker
// for each relay and one for the database. While no relay, or no database, may be called,
// the worker claims no task that needs it. Urgent mails are claimed nevertheless, so that
// the ones that expire are answered in time.
type outage struct {
	relays   []*breaker.Breaker
	database *breaker.Breaker
	log      *slog.Logger

	// depth counts the messages in the queues; nil: they are not counted.
	depth func(ctx context.Context) (int, error)

	held    atomic.Pointer[heldTasks]
	waiting atomic.Int64 // messages, -1: not counted
}

// countEvery is how often the waiting messages are counted while tasks are held.
const countEvery = 5 * time.Second

// heldTasks are tasks that the worker leaves in their queues.
type heldTasks struct {
	names []string
	cause string // name of the breaker
}

// Run runs the breakers and holds and releases tasks until ctx ends. hold is
// [worker.Worker.Hold].
func (o *outage) Run(ctx context.Context, hold func(names ...string)) error {
	var g errgroup.Group
	changed := make(chan struct{}, 1)
	for _, b := range o.all() {
		g.Go(func() error { return b.Run(ctx) })
		g.Go(func() error {
			forward(ctx, b, changed)
			return nil
		})
	}
	g.Go(func() error {
		tick := time.NewTicker(countEvery)
		defer tick.Stop()
		for {
			o.update(hold)
			o.count(ctx)
			select {
			case <-changed:
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
	return g.Wait()
}

// forward tells of each change of a breaker.
func forward(ctx context.Context, b *breaker.Breaker, changed chan<- struct{}) {
	for {
		next := b.Changed()
		select {
		case changed <- struct{}{}:
		default: // it is looked at anyway
		}
		select {
		case <-next:
		case <-ctx.Done():
			return
		}
	}
}

// update holds the tasks that cannot run now, and releases the others.
func (o *outage) update(hold func(names ...string)) {
	now, before := o.wanted(), o.Held()
	if slices.Equal(now.names, before.names) {
		return
	}
	hold(now.names...)
	o.held.Store(&now)
	if len(now.names) > 0 {
		o.log.Warn("mail tasks held in their queues", "cause", now.cause, "tasks", len(now.names)/2)
	} else {
		o.log.Info("mail tasks released")
	}
}

// wanted returns the tasks that must be held now.
func (o *outage) wanted() heldTasks {
	switch {
	case len(o.relays) > 0 && !slices.ContainsFunc(o.relays, mayCall):
		return heldTasks{names: heldNames(func(m tasks.MailTask) bool { return !m.Urgent() }), cause: o.relays[0].Name()}
	case o.database != nil && !mayCall(o.database):
		return heldTasks{names: heldNames(func(m tasks.MailTask) bool { return !m.Urgent() && m.ToUser() }), cause: o.database.Name()}
	}
	return heldTasks{}
}

// mayCall reports whether calls go through, all or some.
func mayCall(b *breaker.Breaker) bool {
	phase := b.State().Phase
	return phase == breaker.Closed || phase == breaker.HalfOpen
}

// heldNames returns the names of mail tasks, each in its two forms.
func heldNames(which func(tasks.MailTask) bool) (names []string) {
	for _, m := range tasks.Mails() {
		if which(m) {
			names = append(names, m.Name, tasks.Module+"."+m.Name)
		}
	}
	return names
}

// states returns the states of all breakers, for the health server.
func (o *outage) states() (all []monitor.BreakerState) {
	for _, b := range o.all() {
		s := b.State()
		all = append(all, monitor.BreakerState{
			Name: s.Name, Phase: s.Phase.String(), Reason: s.Reason, Since: s.Since, Next: s.Next, Refused: s.Refused, Opened: s.Opened, Probes: s.Probes,
		})
	}
	return all
}

// heldTasks returns the tasks that are held, for the health server.
func (o *outage) heldTasks() monitor.HeldTasks {
	held := o.Held()
	return monitor.HeldTasks{Tasks: len(held.names) / 2, Cause: held.cause, Waiting: int(o.waiting.Load())}
}

// count counts the waiting messages while tasks are held.
func (o *outage) count(ctx context.Context) {
	o.waiting.Store(-1)
	if o.depth == nil || len(o.Held().names) == 0 {
		return
	}
	if n, err := o.depth(ctx); err == nil {
		o.waiting.Store(int64(n))
	}
}

// Held returns the tasks that are held now.
func (o *outage) Held() heldTasks {
	if held := o.held.Load(); held != nil {
		return *held
	}
	return heldTasks{}
}

func (o *outage) all() []*breaker.Breaker {
	all := slices.Clone(o.relays)
	if o.database != nil {
		all = append(all, o.database)
	}
	return all
}

// isOpen reports whether err is that of a breaker.
func isOpen(err error) bool {
	_, ok := errors.AsType[*breaker.OpenError](err)
	return ok
}
