package worker

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/control"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/protocol"
)

// ErrRevoked ends the context of a handler whose task was revoked and terminated.
// What the handler still returns is thrown away: REVOKED is stored at once.
var ErrRevoked = errors.New("task was revoked and terminated")

// Revocation names tasks that must not run any more.
type Revocation = broker.Revocation

// revokedPoll is the interval at which a worker learns what others have revoked,
// if nobody tells it sooner.
const revokedPoll = 5 * time.Second

// revocations is what this worker knows of tasks that must not run. Every task asks
// for the lock, so nothing takes long under it.
type revocations struct {
	mu     sync.Mutex
	ids    remembered
	stamps map[string]*remembered // values in JSON by name of the stamp

	asking sync.Mutex // one question to the broker at a time
	since  string     // of the last one
}

// revokesMax bounds the remembered revocations. The oldest are forgotten first.
const revokesMax = control.RevokesMax

// stampsMax bounds the names of stamps; each has its own values.
const stampsMax = 100

// remembered are texts in the order in which they were added last.
type remembered struct {
	order list.List // of memory
	at    map[string]*list.Element
}

type memory struct {
	text string
	at   time.Time
}

func (r *remembered) add(text string, now time.Time) {
	if e := r.at[text]; e != nil {
		e.Value = memory{text, now}
		r.order.MoveToBack(e)
		return
	}
	if r.at == nil {
		r.at = map[string]*list.Element{}
	}
	r.at[text] = r.order.PushBack(memory{text, now})
	if len(r.at) > revokesMax {
		r.forget()
	}
}

// forget drops the oldest.
func (r *remembered) forget() {
	oldest := r.order.Remove(r.order.Front()).(memory)
	delete(r.at, oldest.text)
}

func (r *remembered) has(text string) bool { return r != nil && r.at[text] != nil }

func (r *remembered) prune(now time.Time) {
	for e := r.order.Front(); e != nil && now.Sub(e.Value.(memory).at) > revokedLife; e = r.order.Front() {
		r.forget()
	}
}

// revokedLife is how long a revocation is remembered, as in Celery
// (CELERY_WORKER_REVOKE_EXPIRES).
const revokedLife = 3 * time.Hour

func newRevocations() *revocations { return &revocations{stamps: map[string]*remembered{}} }

// prune forgets what is too old to matter.
func (v *revocations) prune(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ids.prune(now)
	for name, values := range v.stamps {
		if values.prune(now); len(values.at) == 0 {
			delete(v.stamps, name)
		}
	}
}

func (v *revocations) add(r Revocation) {
	stamps := make(map[string][]string, len(r.Stamps))
	for name, values := range r.Stamps {
		for _, value := range values {
			stamps[name] = append(stamps[name], canonical(value))
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for _, id := range r.IDs {
		v.ids.add(id, now)
	}
	for name, values := range stamps {
		if v.stamps[name] == nil {
			if len(v.stamps) >= stampsMax {
				continue
			}
			v.stamps[name] = &remembered{}
		}
		for _, value := range values {
			v.stamps[name].add(value, now)
		}
	}
}

// list returns the ids, those that were revoked first in front.
func (v *revocations) list() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	ids := make([]string, 0, len(v.ids.at))
	for e := v.ids.order.Front(); e != nil; e = e.Next() {
		ids = append(ids, e.Value.(memory).text)
	}
	return ids
}

// canonical writes a value in one form, so that equal values are equal texts.
func canonical(r protocol.Raw) string {
	var v any
	if protocol.Unmarshal(r, &v) == nil {
		if b, err := protocol.Marshal(v); err == nil {
			return string(b)
		}
	}
	return string(r)
}

// covers reports whether a message was revoked, by its id or by a stamp.
func (v *revocations) covers(m *protocol.Message) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ids.has(m.ID) {
		return true
	}
	return len(v.stamps) > 0 && stamped(m, func(name, value string) bool { return v.stamps[name].has(value) })
}

// stamped reports whether one of the stamps of m is as wanted. A stamp may have
// a list of values.
func stamped(m *protocol.Message, want func(name, value string) bool) bool {
	if len(m.StampedHeaders) == 0 || m.Stamps.IsNull() {
		return false
	}
	fields, err := m.Stamps.Fields()
	if err != nil {
		return false
	}
	names := make(map[string]bool, len(m.StampedHeaders))
	for _, n := range m.StampedHeaders {
		names[n] = true
	}
	for _, f := range fields {
		if !names[f.Name] || f.Value.IsNull() {
			continue
		}
		values, err := f.Value.Elements()
		if err != nil {
			values = []protocol.Raw{f.Value}
		}
		for _, value := range values {
			if want(f.Name, canonical(value)) {
				return true
			}
		}
	}
	return false
}

// learnRevoked keeps up with what is revoked, until ctx ends.
func (w *Worker) learnRevoked(ctx context.Context) {
	tick := time.NewTicker(revokedPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A fault is one of the broker, which the consumer reports.
		if err := w.syncRevoked(ctx); err != nil {
			w.log.Debug("cannot read what was revoked", "error", err)
		}
		w.revoked.prune(w.now())
	}
}

// syncRevoked asks the broker once. Nothing is claimed before it has answered:
// a worker that starts must not run what was revoked while it was away.
func (w *Worker) syncRevoked(ctx context.Context) error {
	w.revoked.asking.Lock()
	defer w.revoked.asking.Unlock()
	r, next, err := w.can.Revoker.Revoked(ctx, w.revoked.since)
	if err != nil {
		return err // it says what was asked
	}
	w.revoked.add(r)
	w.revoked.since = next
	return nil
}

// Revoke keeps tasks from running, in this worker and in all others. With
// terminate those that run end: here their contexts, with [ErrRevoked]. It returns
// the ids of those that ran here. The error is about the others: what was revoked
// does not run here any more.
func (w *Worker) Revoke(ctx context.Context, r Revocation, terminate bool) (terminated []string, err error) {
	w.revoked.add(r)
	if terminate {
		terminated = w.terminateAll(r)
	}
	return terminated, revokeEverywhere(ctx, w.can, &w.clock, r, terminate)
}

// revokeHere does what remote control asks for: the others are asked too.
func (w *Worker) revokeHere(ctx context.Context, r Revocation, terminate bool) (terminated []string) {
	w.revoked.add(r)
	if terminate {
		terminated = w.terminateAll(r)
	}
	if err := w.can.Revoker.Revoke(ctx, r); err != nil {
		w.log.Error("what was revoked could not be stored: a worker that starts will not know", "error", err)
	}
	return terminated
}

// revokeEverywhere stores a revocation, for workers that start later, and tells
// those that run.
func revokeEverywhere(ctx context.Context, can broker.Capabilities, c *events.Clock, r Revocation, terminate bool) error {
	if err := can.Revoker.Revoke(ctx, r); err != nil {
		return err
	}
	if can.Remote == nil {
		return nil
	}
	var requests []*protocol.ControlRequest
	add := func(method string, arguments map[string]any) error {
		arguments["terminate"], arguments["signal"] = terminate, "SIGTERM"
		raw, err := protocol.Marshal(arguments)
		requests = append(requests, &protocol.ControlRequest{Method: method, Arguments: raw, Clock: c.Forward()})
		return err
	}
	if len(r.IDs) > 0 {
		if err := add("revoke", map[string]any{"task_id": r.IDs}); err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
	}
	if len(r.Stamps) > 0 {
		if err := add("revoke_by_stamped_headers", map[string]any{"headers": r.Stamps}); err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
	}
	for _, q := range requests {
		raw, err := protocol.EncodeControl(q, uuid.NewString(), time.Time{})
		if err == nil {
			err = can.Remote.Broadcast(ctx, raw)
		}
		if err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
	}
	return nil
}

// terminateAll ends the tasks of r that run here.
func (w *Worker) terminateAll(r Revocation) (ids []string) {
	match := newRevocations()
	match.add(r)
	active, waiting := w.pool.Items()
	for _, q := range slices.Concat(waiting, active) {
		if match.covers(q.msg) && w.terminate(q) {
			ids = append(ids, q.msg.ID)
		}
	}
	// Those that wait will not run; Celery counts them too.
	for _, q := range w.limits.requests() {
		if match.covers(q.msg) {
			ids = append(ids, q.msg.ID)
		}
	}
	for _, e := range w.waiting(r.IDs) {
		ids = append(ids, e.id)
	}
	return ids
}

// waitingTask is a task that waits for its ETA.
type waitingTask struct {
	id    string
	entry etaEntry
}

// waiting finds tasks by their ids among those that wait for their ETA, of which
// only the message is kept.
func (w *Worker) waiting(ids []string) (found []waitingTask) {
	if len(ids) == 0 {
		return nil
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	for _, e := range w.eta.all() {
		raw := e.request.delivery.Raw
		if len(ids) <= 10 && !slices.ContainsFunc(ids, func(id string) bool { return bytes.Contains(raw, []byte(id)) }) {
			continue // reading all of them would take long
		}
		if env, err := protocol.ParseEnvelope(raw); err == nil && wanted[env.ID] {
			found = append(found, waitingTask{env.ID, e})
		}
	}
	return found
}

// revoke keeps the tasks of a group from running whose body has failed.
func (w *Worker) revoke(ctx context.Context, ids []string) {
	if len(ids) == 0 {
		return
	}
	r := Revocation{IDs: ids}
	w.revoked.add(r)
	_ = w.persist(ctx, "revoke tasks", func(ctx context.Context) error {
		return revokeEverywhere(ctx, w.can, &w.clock, r, false)
	})
}
