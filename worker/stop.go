package worker

import (
	"context"
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
	waiting := append(w.pool.close(), w.eta.drain()...)
	w.log.Info("worker stops", "running", w.pool.running(), "given_back", len(waiting), "grace", w.cfg.Grace)

	// Both at once: with the broker away giving back takes its time.
	returned := make(chan struct{})
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
	select {
	case <-returned:
	case <-time.After(cutOff):
	case <-w.stopNow:
	}
	end.store()
	<-returned
	w.pool.wg.Wait()
	end.work(nil)
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
