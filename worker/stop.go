package worker

import (
	"context"
	"slices"
	"sync"
	"time"
)

// lifecycle holds the contexts of a Worker. A warm stop has steps, and each
// ends one of them: the context of Run ends claiming; work ends the handlers,
// and only when the grace period is over, as a mail in the middle of DATA must
// not be cut off by a SIGTERM; store ends the attempts to tell the broker what
// became of them; lease ends the hold on what is left.
type lifecycle struct{ work, store, lease context.Context }

type lifecycleEnds struct {
	work  context.CancelCauseFunc
	store context.CancelFunc
	lease context.CancelFunc
}

func newLifecycle(ctx context.Context) (life lifecycle, end lifecycleEnds) {
	base := context.WithoutCancel(ctx)
	life.lease, end.lease = context.WithCancel(base)
	life.store, end.store = context.WithCancel(life.lease)
	life.work, end.work = context.WithCancelCause(life.store)
	return life, end
}

// cutOff is how long handlers get to return once their contexts have ended.
const cutOff = 3 * time.Second

// stop gives back what has not begun and sees the rest to its end.
func (w *Worker) stop(life lifecycle, end lifecycleEnds) {
	w.state.Store(int32(StateStopping))
	waiting := slices.Concat(w.pool.close(), w.limits.drain(), w.eta.drain())
	w.log.Info("worker stops", "running", w.pool.running(), "given_back", len(waiting), "grace", w.cfg.Grace)

	// Both at once: with the broker away giving back takes its time.
	returned, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(returned)
		w.giveBack(life.store, waiting)
	}()
	if !w.drain() {
		end.work(ErrStopped)
		select {
		case <-w.pool.drained():
		case <-time.After(cutOff):
			w.log.Error("tasks ignore the end of their context and are left behind", "running", w.pool.running())
		}
	}
	// After what had not begun, as it was claimed before; and all at once, as
	// handlers end in any order.
	go func() {
		defer close(done)
		<-returned
		w.giveBackDeliveries(life.store, w.cutShort.take())
	}()
	w.awaitBroker(done)
	end.store()
	<-done
	w.pool.wg.Wait()
	end.work(nil)
}

// deliveries collects messages from many goroutines.
type deliveries struct {
	mu  sync.Mutex
	all []Delivery
}

func (d *deliveries) add(one Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
}

func (d *deliveries) take() []Delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.all
	d.all = nil
	return all
}

// awaitBroker waits until everything was given back. StopNow leaves a second:
// enough for a broker that answers, and no more for one that does not.
func (w *Worker) awaitBroker(done <-chan struct{}) {
	patience, stopNow := time.NewTimer(cutOff), w.stopNow
	defer patience.Stop()
	for {
		select {
		case <-done:
			return
		case <-patience.C:
			return
		case <-stopNow:
			stopNow = nil
			patience.Reset(time.Second)
		}
	}
}

// drain waits for the running tasks and reports whether they ended in time.
func (w *Worker) drain() bool {
	grace := time.NewTimer(w.cfg.Grace)
	defer grace.Stop()
	select {
	case <-w.pool.drained():
		return true
	case <-grace.C:
	case <-w.stopNow:
	}
	return false
}
