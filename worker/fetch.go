package worker

import (
	"context"
	"slices"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/internal/pool"
	"github.com/evently/workers/worker/protocol"
)

// maxClaim bounds one claim, so that one script does not hold Redis for long
// and one worker does not take a whole queue at once.
const maxClaim = 100

// fetch claims messages while there is room, until ctx ends.
func (w *Worker) fetch(ctx, store context.Context) {
	var pause backoff.Backoff
	for known := false; ctx.Err() == nil; {
		if !known {
			// A worker that starts must not run what was revoked before.
			if err := w.syncRevoked(store); err != nil {
				w.refused(ctx, &pause, err)
				continue
			}
			known = true
			w.control.AskRevoked(store)
		}
		ds, asked, err := w.claim(ctx, store)
		if asked == 0 && err == nil {
			continue
		}
		if err == nil && len(ds) == 0 {
			w.consuming.looked(w.now())
			w.foreign.empty()
			pause.Reset()
			err = w.await(ctx, store)
		}
		if err != nil && ctx.Err() == nil {
			w.refused(ctx, &pause, err)
			continue
		}
		if len(ds) == 0 {
			continue
		}
		w.consuming.looked(w.now())
		pause.Reset()
		w.accept(store, ds)
		w.ends.ClaimDone()
		w.foreign.rest(ctx)
	}
}

// claim takes as many messages as there is room for; asked is how many those are. Without
// room it waits until there may be some.
func (w *Worker) claim(ctx, store context.Context) (ds []broker.Delivery, asked int, err error) {
	// A claim that has begun is never cancelled: the messages would be ours
	// without our knowing. It has a deadline of its own.
	room, patience := w.room()
	if room > 0 {
		asked = min(room, maxClaim)
		ds, err = w.broker.Claim(store, asked)
		w.pool.NoteClaim(len(ds) == asked)
		return ds, asked, err
	}
	w.consuming.full(w.now())
	if free, ends := w.turnover(); ends > 0 {
		ds, asked, err = w.can.Pipeliner.ClaimAfter(store, free, ends, w.ends.ClaimReady)
		if len(ds) == 0 {
			w.ends.ClaimDone()
		}
		switch {
		case asked > 0:
			w.pool.NoteClaim(len(ds) == asked)
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
	case <-w.pool.Changed():
	case <-time.After(patience): // an ETA task may have been lost or run
	}
	w.returnExcess(store)
	return nil, 0, nil
}

// refused notes a fault of the broker and waits a little.
func (w *Worker) refused(ctx context.Context, pause *backoff.Backoff, err error) {
	w.consuming.refused(err)
	if pause.Report() {
		w.log.Error("cannot consume, will try again", "error", err)
	}
	pause.Wait(ctx)
}

// room is the number of messages that may be claimed now; when it is none, how long to
// wait for a change at most.
func (w *Worker) room() (n int, patience time.Duration) {
	if w.blocked() {
		return 0, pool.StaleAfter
	}
	return w.pool.Room(w.limits.len())
}

// turnover is how much may be claimed now, and how much more when runs have ended that
// are about to; then round trips for these wait for a claim.
func (w *Worker) turnover() (free, ends int) {
	if w.can.Pipeliner == nil || w.blocked() {
		return 0, 0
	}
	free, ends, ok := w.pool.Turnover(w.limits.len())
	if !ok {
		return 0, 0
	}
	if ends += w.ends.ClaimComes(ends); free+ends <= 0 {
		w.ends.ClaimDone()
		return 0, 0
	}
	return min(free, maxClaim), min(ends, maxClaim)
}

// hasRoom reports whether something may be claimed now.
func (w *Worker) hasRoom() bool {
	return !w.blocked() && w.pool.HasRoom(w.limits.len())
}

// blocked reports whether nothing may be claimed whatever the pool has room for.
func (w *Worker) blocked() bool {
	return w.cfg.ETATaskLimit > 0 && w.eta.len() >= w.cfg.ETATaskLimit || w.deaf() || w.held.heavy()
}

// deaf reports whether so many handlers go on after their hard time limit that it
// is no limit any more: as many as there are slots.
func (w *Worker) deaf() bool { return w.aborted.Load() >= int64(max(w.pool.Size(), 4)) }

// accept takes claimed messages in: decodes them, and sorts out what cannot or
// need not run.
func (w *Worker) accept(store context.Context, ds []broker.Delivery) {
	var ready []*request
	for _, d := range ds {
		w.counts.received.Add(1)
		m := d.Message
		if m == nil {
			if w.held.heavy() {
				w.postpone(d)
				continue
			}
			var err error
			if m, err = w.decoder.Decode(d.Raw); err != nil {
				w.setAside(store, d, err)
				continue
			}
		}
		def, known := w.tasks[m.Task]
		if !known {
			w.unknown(store, w.newRequest(d, m))
			continue
		}
		withdrawn := w.expired(m) || w.revoked.covers(m)
		if !withdrawn { // Celery says no more of those than that they are revoked
			w.events.received(m)
		}
		if m.ETA.After(w.now()) && !withdrawn {
			// Until it is due only the message is kept: there may be many.
			d.Message = nil
			r := &request{delivery: d}
			w.held.add(r)
			w.eta.add(r, m.ETA)
			continue
		}
		r := w.newRequest(d, m)
		r.use(def, w)
		w.held.add(r)
		ready = append(ready, r)
	}
	ready = slices.DeleteFunc(ready, w.limits.hold)
	w.run(store, ready)
}

// unknown applies the policy for task names that are not registered.
func (w *Worker) unknown(ctx context.Context, r *request) {
	exc := &protocol.Exception{Type: "NotRegistered", Module: "celery.exceptions", Args: []any{r.msg.Task}}
	switch w.cfg.UnknownTasks {
	case RequeueUnknown:
		r.log.Debug("task is not registered here, left to other workers")
		w.foreign.met(r.msg.ID, w.now())
		_ = w.settle(ctx, "requeue an unknown task", r.task, broker.Settlement{Delivery: r.delivery, Requeue: broker.RequeueUntouched})
	case RejectUnknown:
		r.log.Error("task is not registered, message dropped")
		w.failUnrun(ctx, r, exc, "")
	default:
		w.counts.deadLettered.Add(1)
		r.log.Error("task is not registered, message set aside in the dead letters")
		w.failUnrun(ctx, r, exc, "unknown task")
	}
}

// revokeRequest ends a message without running it, as REVOKED.
func (w *Worker) revokeRequest(ctx context.Context, r *request, reason string) {
	if !w.held.remove(r) {
		return
	}
	w.counts.revoked.Add(1)
	r.log.Info("task revoked", "reason", reason)
	s := broker.Settlement{Delivery: r.delivery}
	exc := revokedError(reason)
	if r.stored(protocol.StateRevoked) {
		s.Result = w.result(r.task, protocol.StateRevoked)
		s.Result.Exception, s.Result.DateDone = exc, w.now()
	}
	w.memberFailed(r, &s, protocol.StateRevoked, exc)
	if w.settle(r.after(ctx), "revoke a task", r.task, s) == nil {
		w.events.Add(w.events.revoked(r.msg, reason))
	}
}

// run gives requests to the pool, but for those that are not to run any more.
func (w *Worker) run(store context.Context, rs []*request) {
	var ready []*request
	for _, r := range rs {
		if !w.held.has(r) {
			continue // lost while it waited
		}
		if reason := w.withdrawn(r); reason != "" {
			w.revokeRequest(store, r, reason)
			continue
		}
		ready = append(ready, r)
	}
	if len(ready) > 0 && !w.pool.Add(ready...) {
		w.giveBack(store, ready)
	}
}

// heavyPause is the time after which a message is looked at again that had to wait for
// memory.
const heavyPause = 50 * time.Millisecond

// postpone keeps a message as it came: what others stand for takes too much memory.
func (w *Worker) postpone(d broker.Delivery) {
	r := &request{delivery: d}
	w.held.add(r)
	w.eta.add(r, w.now().Add(heavyPause))
}

// open decodes what waited for its ETA, or for memory; then comes the rate limit.
func (w *Worker) open(store context.Context, rs []*request) []*request {
	return slices.DeleteFunc(rs, func(r *request) bool {
		if w.held.heavy() {
			w.eta.add(r, w.now().Add(heavyPause))
			return true
		}
		m, err := w.decoder.Decode(r.delivery.Raw)
		if err != nil {
			if w.held.remove(r) {
				w.setAside(store, r.delivery, err)
			}
			return true
		}
		w.fill(r, new(opened), m)
		r.use(w.definition(m.Task), w)
		return w.limits.hold(r)
	})
}

// releaseDue moves tasks whose ETA has come into the pool, until ctx ends. The
// clock is read at least once a second: it may be set while we wait.
func (w *Worker) releaseDue(ctx, store context.Context) {
	for {
		rs, next := w.eta.due(w.now())
		w.run(store, w.open(store, rs))
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(min(next, time.Second))
		}
		select {
		case <-ctx.Done():
			return
		case <-w.eta.wake:
		case <-timer:
		}
	}
}
