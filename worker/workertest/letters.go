package workertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/deadletter"
)

// Letters are the dead letters of a [Broker]. They have the methods of those in Redis, without
// bounds and encryption. [Broker.Letters] returns them.
type Letters struct {
	// Lives tells how long the arguments of dead letters of some tasks live, by the names of
	// the tasks. Set it before the worker runs.
	Lives map[string]time.Duration

	b   *Broker
	all []*letter // the oldest first
}

type letter struct {
	id    string
	entry deadletter.Entry
	raw   []byte
}

// add adds the message of a delivery. b.mu must be held.
func (d *Letters) add(del broker.Delivery, reason string) {
	e := deadletter.Entry{Queue: del.Queue, Reason: reason, At: deadletter.SecondsOf(time.Now())}
	e.Fill(del.Raw, d.Lives)
	d.all = append(d.all, &letter{id: del.Claim, entry: e, raw: del.Raw})
}

// list returns the letters of some states, without any of all, the oldest first. b.mu must be held.
func (d *Letters) list(states ...broker.LetterState) (found []broker.DeadLetter) {
	for _, l := range d.all {
		if len(states) == 0 || slices.Contains(states, broker.LetterState(l.entry.State)) {
			found = append(found, l.entry.Letter(l.id, l.raw, time.Now()))
		}
	}
	return found
}

// find returns a letter. b.mu must be held.
func (d *Letters) find(id string) (*letter, broker.DeadLetter, error) {
	for _, l := range d.all {
		if l.id == id {
			return l, l.entry.Letter(id, l.raw, time.Now()), nil
		}
	}
	return nil, broker.DeadLetter{ID: id}, fmt.Errorf("%w: %s", broker.ErrNoDeadLetter, id)
}

// List returns open dead letters, the newest first, and their number.
func (d *Letters) List(_ context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error) {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	open := d.list(broker.LetterOpen)
	slices.Reverse(open)
	from := min(max(offset, 0), len(open))
	return open[from:min(from+max(limit, 0), len(open))], len(open), nil
}

// Each calls fn for the letters of the given states, without any for all, the newest first.
func (d *Letters) Each(ctx context.Context, fn func(broker.DeadLetter) error, states ...broker.LetterState) error {
	d.b.mu.Lock()
	letters := d.list(states...)
	d.b.mu.Unlock()
	for _, l := range slices.Backward(letters) {
		if err := errors.Join(ctx.Err(), fn(l)); err != nil {
			return err
		}
	}
	return nil
}

// Get returns one dead letter.
func (d *Letters) Get(_ context.Context, id string) (broker.DeadLetter, error) {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	_, l, err := d.find(id)
	return l, err
}

// Find completes the prefix of an id.
func (d *Letters) Find(_ context.Context, prefix string) (id string, err error) {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	var found []string
	for _, l := range d.all {
		if l.id == prefix {
			return prefix, nil
		}
		if strings.HasPrefix(l.id, prefix) {
			found = append(found, l.id)
		}
	}
	const shortest = 4
	switch {
	case len(found) == 0 || len(prefix) < shortest:
		return "", fmt.Errorf("%w: %s", broker.ErrNoDeadLetter, prefix)
	case len(found) > 1:
		return "", fmt.Errorf("%s is the beginning of %d dead letters, write more of it", prefix, len(found))
	}
	return found[0], nil
}

// Counts returns the numbers of letters. None is ever dropped.
func (d *Letters) Counts(context.Context) (c broker.LetterCounts, err error) {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	c.Open = len(d.list(broker.LetterOpen))
	c.Closed = len(d.all) - c.Open
	return c, nil
}

// Retry puts a letter back into its queue.
func (d *Letters) Retry(ctx context.Context, id string) error {
	return d.RetryMany(ctx, []string{id}, "", "")[0]
}

// RetryMany puts letters back into their queues. It returns one error, or nil, for each.
func (d *Letters) RetryMany(_ context.Context, ids []string, by, note string) []error {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	errs := make([]error, len(ids))
	for i, id := range ids {
		l, view, err := d.find(id)
		var what *deadletter.Revival
		if err == nil {
			what, err = deadletter.Retry(&view, time.Now())
		}
		if errs[i] = err; err != nil {
			continue
		}
		delete(d.b.results.byID, what.Message.ID)
		delete(d.b.crashes, what.Message.ID)
		d.publish(l, what, l.entry.Close(broker.LetterRetried, by, note, "", time.Now()))
	}
	return errs
}

// publish puts a message into its queue and closes its letter. b.mu must be held.
func (d *Letters) publish(l *letter, what *deadletter.Revival, closed deadletter.Entry) {
	d.b.lists.push(what.Queue, what.Message.Priority, what.Raw, false)
	closed.Wiped, closed.Expires = true, 0
	l.entry, l.raw = closed, deadletter.Wipe(l.raw)
	d.b.wake()
}

// Replace publishes an edited copy under a new task id, which it returns.
func (d *Letters) Replace(_ context.Context, id string, raw []byte, by, note string) (taskID string, err error) {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	l, view, err := d.find(id)
	if err != nil {
		return "", err
	}
	taskID = uuid.NewString()
	what, err := deadletter.Replace(&view, raw, taskID, time.Now())
	if err != nil {
		return "", err
	}
	closed := l.entry.Close(broker.LetterReplaced, by, note, "", time.Now())
	closed.ReplacedBy = taskID
	d.publish(l, what, closed)
	return taskID, nil
}

// Resolve marks an open letter as dealt with.
func (d *Letters) Resolve(_ context.Context, id, by, note string) error {
	return d.move(id, broker.LetterOpen, broker.LetterDealtWith, by, note)
}

// Reopen takes back that a letter is dealt with.
func (d *Letters) Reopen(_ context.Context, id, by, note string) error {
	return d.move(id, broker.LetterDealtWith, broker.LetterOpen, by, note)
}

func (d *Letters) move(id string, from, to broker.LetterState, by, note string) error {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	l, view, err := d.find(id)
	if err != nil {
		return err
	}
	if view.State != from {
		return &broker.LetterStateError{ID: id, State: view.State, At: view.StateAt, By: view.By}
	}
	l.entry = l.entry.Close(to, by, note, "", time.Now())
	d.b.wake()
	return nil
}

// Delete removes a letter.
func (d *Letters) Delete(_ context.Context, id string) error {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	l, _, err := d.find(id)
	if err == nil {
		d.all = slices.DeleteFunc(d.all, func(other *letter) bool { return other == l })
	}
	return err
}
