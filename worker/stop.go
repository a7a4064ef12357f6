package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
)

// lifecycle holds the contexts of a Worker. A warm stop has steps, and each
// ends one of them: the context of Run ends claiming, and accept soon after it
// the sorting out of what was claimed; work ends the handlers, and only when the
// grace period is over, as a mail in the middle of DATA must not be cut off by a
// SIGTERM; store ends the attempts to tell the broker what became of them; lease
// ends the hold on what is left.
type lifecycle struct{ accept, work, store, lease context.Context }

type lifecycleEnds struct {
	work                 context.CancelCauseFunc
	accept, store, lease context.CancelFunc
}

func newLifecycle(ctx context.Context) (life lifecycle, end lifecycleEnds) {
	base := context.WithoutCancel(ctx)
	life.lease, end.lease = context.WithCancel(base)
	life.store, end.store = context.WithCancel(life.lease)
	life.accept, end.accept = context.WithCancel(life.store)
	life.work, end.work = context.WithCancelCause(life.store)
	return life, end
}

// cutOff is how long handlers get to return once their contexts have ended, and
// then the broker to be told of it.
const cutOff = 3 * time.Second

// stop gives back what has not begun and sees the rest to its end. The grace
// period began with the stop.
func (w *Worker) stop(life lifecycle, end lifecycleEnds, began time.Time) {
	w.state.Store(int32(StateStopping))
	waiting := slices.Concat(w.pool.Close(), w.limits.drain(), w.eta.drain())
	w.log.Info("worker stops", "running", w.pool.Unsettled(), "given_back", len(waiting), "grace", w.cfg.Grace.Seconds())

	// Beside the tasks that run: with the broker away giving back takes its time.
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		w.giveBack(life.store, waiting)
		select {
		case <-w.pool.Drained():
		case <-life.store.Done():
		}
		// After what had not begun, as it was claimed before; and all at once, as
		// handlers end in any order.
		w.giveBackDeliveries(life.store, w.cutShort.take())
	}()
	if !w.drain(w.cfg.Grace - time.Since(began)) {
		end.work(ErrStopped)
		w.awaitHandlers()
	}
	if !w.awaitBroker(returned, w.patience(len(waiting), began)) {
		end.store()
		w.broker.Reset() // what waits for an answer fails at once
	}
	end.store()
	w.abandonAll()
	<-returned
	w.pool.Wait()
	w.ends.Wait()
	w.settling.Wait()
	end.work(nil)
}

// awaitHandlers waits until no handler is at work any more.
func (w *Worker) awaitHandlers() {
	patience := time.NewTimer(cutOff)
	defer patience.Stop()
	select {
	case <-w.calls.idle():
	case <-patience.C:
		w.log.Error("tasks ignore the end of their context and are left behind", "running", w.pool.Unsettled())
	}
}

// calls counts the handlers at work. A WaitGroup would not do: it may not grow
// from zero while somebody waits.
type calls struct {
	mu sync.Mutex
	n  int
	ch chan struct{} // closed when n is 0; nil when nobody waits
}

func (c *calls) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.ch != nil {
		close(c.ch)
		c.ch = nil
	}
}

// idle is closed when no handler is at work.
func (c *calls) idle() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	if c.ch == nil {
		c.ch = make(chan struct{})
	}
	return c.ch
}

// deliveries collects messages from many goroutines.
type deliveries struct {
	mu  sync.Mutex
	all []broker.Delivery
}

func (d *deliveries) add(one broker.Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
}

func (d *deliveries) take() []broker.Delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.all
	d.all = nil
	return all
}

// returnTime is what giving back one message may take: those that wait for their
// ETA may be a hundred thousand.
const returnTime = 200 * time.Microsecond

// patience is how long n messages may take to go back: no longer than what is left
// of the grace period, and cutOff.
func (w *Worker) patience(n int, began time.Time) time.Duration {
	return cutOff + min(time.Duration(n)*returnTime, max(w.cfg.Grace-time.Since(began), 0))
}

// awaitBroker waits until everything was given back, and reports whether it was.
// StopNow leaves a second: enough for a broker that answers, and no more for one
// that does not.
func (w *Worker) awaitBroker(done <-chan struct{}, most time.Duration) bool {
	patience, stopNow := time.NewTimer(most), w.stopNow
	defer patience.Stop()
	for {
		select {
		case <-done:
			return true
		case <-patience.C:
			return false
		case <-stopNow:
			stopNow = nil
			patience.Reset(time.Second)
		}
	}
}

// drain waits for the running tasks and reports whether they ended in time.
func (w *Worker) drain(grace time.Duration) bool {
	t := time.NewTimer(max(grace, 0))
	defer t.Stop()
	select {
	case <-w.pool.Drained():
		return true
	case <-t.C:
	case <-w.stopNow:
	}
	return false
}
