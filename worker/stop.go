package worker

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/internal/ratelimit"
	"github.com/evently/workers/worker/internal/schedule"
)

const (
	// cutOff is how long handlers get to return once their contexts have ended, and then
	// the broker to be told of it.
	cutOff = 3 * time.Second
	// returnTime is the time to give back one message. A hundred thousand may wait for
	// their ETA.
	returnTime = 200 * time.Microsecond
)

// drainer sees to the end of what a worker holds when it stops.
type drainer struct {
	env
	broker   broker.Broker
	pool     *pool.Pool[*request]
	schedule *schedule.Schedule[*request]
	limits   *ratelimit.Limiter[*request]
	settler  *settler
	executor *executor
	calls    *calls
	stages   *stages
	stopNow  <-chan struct{}
	state    *atomic.Int32
}

// drain gives back messages that have not begun and waits for the others. The grace period
// began with the stop.
func (d *drainer) drain(began time.Time) {
	d.state.Store(int32(StateStopping))
	d.settler.returns.Stop()
	waiting := slices.Concat(d.pool.Close(), d.limits.Drain(), d.schedule.Drain())
	d.log.Info("worker stops", "running", d.pool.Unsettled(), "given_back", len(waiting), "grace", d.cfg.Grace.Seconds())

	// Beside the running tasks: if the broker is unavailable, giving back takes time.
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		d.giveBack(waiting)
	}()
	if !d.awaitTasks(d.cfg.Grace - time.Since(began)) {
		d.stages.endWork(ErrStopped)
		d.awaitHandlers()
	}
	if !d.awaitBroker(returned, d.patience(len(waiting), began)) {
		d.stages.endStore()
		d.broker.Reset() // calls that wait for an answer fail at once
	}
	d.stages.endStore()
	d.executor.abandonAll()
	<-returned
	d.pool.Wait()
	d.settler.wait()
	d.stages.endWork(nil)
}

// giveBack gives back waiting messages, and then messages whose runs have ended too early,
// because these were claimed before.
func (d *drainer) giveBack(waiting []*request) {
	d.settler.giveBack(d.stages.store, waiting)
	select {
	case <-d.pool.Drained():
	case <-d.stages.store.Done():
	}
	d.settler.returnCutShort()
}

// awaitTasks waits for the running tasks and reports whether they ended in time.
func (d *drainer) awaitTasks(grace time.Duration) bool {
	t := time.NewTimer(max(grace, 0))
	defer t.Stop()
	select {
	case <-d.pool.Drained():
		return true
	case <-t.C:
	case <-d.stopNow:
	}
	return false
}

// awaitHandlers waits until no handler is at work any more.
func (d *drainer) awaitHandlers() {
	patience := time.NewTimer(cutOff)
	defer patience.Stop()
	select {
	case <-d.calls.idle():
	case <-patience.C:
		d.log.Error("tasks ignore the end of their context and are left behind", "running", d.pool.Unsettled())
	}
}

// patience returns how long n messages may take to go back: the rest of the grace period
// at most, and cutOff.
func (d *drainer) patience(n int, began time.Time) time.Duration {
	return cutOff + min(time.Duration(n)*returnTime, max(d.cfg.Grace-time.Since(began), 0))
}

// awaitBroker waits until all messages were given back, and reports whether they were.
// After StopNow it waits for one more second, which is enough for a broker that answers.
func (d *drainer) awaitBroker(done <-chan struct{}, most time.Duration) bool {
	patience, stopNow := time.NewTimer(most), d.stopNow
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
