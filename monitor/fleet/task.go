package fleet

import (
	"cmp"
	"slices"
	"time"
)

// precedence orders states as Celery does: the first one wins over the others. A custom
// state is between FAILURE and REVOKED.
func precedence(state string) int {
	switch state {
	case Success:
		return 0
	case Failure:
		return 1
	case Revoked:
		return 3
	case Started:
		return 4
	case Received:
		return 5
	case Rejected:
		return 6
	case Retry:
		return 7
	case Pending:
		return 8
	}
	return 2
}

// fromReceived are the fields that an event task-received sets even when it arrives after
// later ones (celery.events.state.Task.merge_rules).
const fromReceived = HasName | HasArgs | HasKwargs | HasParent | HasRoot | HasRetries | HasETA | HasExpires

func (b *book) taskEvent(e *event, now time.Time) *TaskEvent {
	t, created := b.tasks[string(e.id)], false
	if t == nil {
		t, created = b.add(string(e.id)), true
	}
	at, k := Seconds(e.timestamp), e.kind
	if created && k.state != Pending && k.state != Received {
		b.status.Unseen++
	}
	if k.subject == "sent" {
		t.Client = b.names.text(e.host)
		t.Has |= HasClient
	} else {
		w := b.worker(e, now)
		t.Worker = w.Node
		t.Has |= HasWorker
		w.beat(min(at, secondsOf(now))) // a clock that is ahead must not keep it online
	}
	t.stamp(k.subject, at)
	fields, node := e.here, b.names.text(e.host)
	if k.state != Retry && t.State != Retry && precedence(k.state) > precedence(t.State) {
		// The event happened before the one that led to the current state.
		if k.state == Received {
			fields &= fromReceived
			node = cmp.Or(t.node, node)
		} else {
			t.At, t.Clock = at, e.clock
		}
	} else {
		t.State, t.At, t.Clock = b.state(k), at, e.clock
	}
	t.node = node
	b.update(t, e, fields)
	if k.state == Retry {
		t.retried(at)
	}
	b.count(t, e, created, now)
	b.resize(t)
	b.shrink(t)
	result := &TaskEvent{Type: k.kind, Node: t.Worker, TaskNode: t.node, At: at, Created: created, Task: &t.Task}
	if k.subject == "sent" {
		result.Node = t.Client
	}
	if e.set.Has(HasName) {
		result.Name = t.Name
	}
	if e.set.Has(HasRuntime) {
		result.Runtime = e.runtime
	}
	return result
}

// state returns the name of the state that an event leads to.
func (b *book) state(k *kind) string {
	if known := kinds[k.kind]; known != nil {
		return known.state
	}
	return b.names.text([]byte(k.state))
}

// stamp notes the time of an event of that kind.
func (t *Task) stamp(subject string, at Seconds) {
	switch subject {
	case "sent":
		t.Sent = at
	case "received":
		t.Received = at
	case "started":
		t.Started = at
	case "succeeded":
		t.Succeeded = at
	case "failed":
		t.Failed = at
	case "retried":
		t.Retried = at
	case "revoked":
		t.Revoked = at
	case "rejected":
		t.Rejected = at
	}
}

// update takes over fields of an event.
func (b *book) update(t *entry, e *event, fields Fields) {
	t.Has = t.Has&^fields | e.set&fields
	if fields.Has(HasParent) && t.Parent != string(e.parent) {
		b.move(t, string(e.parent))
	}
	for _, f := range [...]struct {
		has  Fields
		dst  *string
		text []byte
	}{
		{HasName, &t.Name, e.name}, {HasQueue, &t.Queue, e.queue}, {HasExchange, &t.Exchange, e.exchange},
		{HasRoutingKey, &t.RoutingKey, e.routingKey}, {HasETA, &t.ETA, e.eta}, {HasExpires, &t.Expires, e.expires},
	} {
		if fields.Has(f.has) && *f.dst != string(f.text) {
			if f.has == HasName {
				b.retype(t, b.names.text(f.text))
				continue
			}
			*f.dst = b.names.text(f.text)
		}
	}
	if fields.Has(HasRoot) && t.Root != string(e.root) {
		t.Root = t.ID
		if t.ID != string(e.root) {
			t.Root = string(e.root)
		}
	}
	if fields.Has(HasRetries) {
		t.Retries = int(e.retries)
	}
	if fields.Has(HasRuntime) {
		t.Runtime = e.runtime
	}
	if fields.Has(HasResult) {
		t.Result = b.hider.result(e.result, t.secrets)
	}
	if fields&(HasArgs|HasKwargs) != 0 {
		b.arguments(t, e, fields)
	}
	for _, f := range [...]struct {
		has  Fields
		dst  *string
		text []byte
	}{{HasException, &t.Exception, e.exception}, {HasTraceback, &t.Traceback, e.traceback}} {
		if fields.Has(f.has) {
			*f.dst = b.hider.text(f.text, t.secrets)
		}
	}
}

// arguments takes over the arguments, without their secrets.
func (b *book) arguments(t *entry, e *event, fields Fields) {
	t.secrets = nil
	var secrets seen
	if fields.Has(HasArgs) {
		t.Args, secrets = b.hider.args(t.Name, e.args)
		t.secrets = append(t.secrets, secrets...)
	}
	if fields.Has(HasKwargs) {
		t.Kwargs, secrets = b.hider.kwargs(e.kwargs)
		t.secrets = append(t.secrets, secrets...)
	}
}

// retried ends the current attempt.
func (t *entry) retried(at Seconds) {
	t.tries++
	a := t.current(t.tries)
	a.Ended, a.State, a.Exception = at, Retry, t.Exception
	if len(t.past) >= MaxAttempts-1 {
		t.past = append(t.past[:0], t.past[1:]...)
	}
	t.past = append(t.past, a)
}

// current returns the attempt that began after those of the past.
func (t *entry) current(number int) Attempt {
	a := Attempt{Number: number, Worker: t.Worker, State: t.State}
	var after Seconds
	if n := len(t.past); n > 0 {
		after = t.past[n-1].Ended
	}
	if t.Received > after {
		a.Received = t.Received
	}
	if t.Started > after {
		a.Started = t.Started
	}
	return a
}

// attempts returns all attempts for readers.
func (t *entry) attempts() []Attempt {
	all := slices.Clone(t.past)
	if t.State == Retry || t.State == Pending {
		return all
	}
	a := t.current(t.tries + 1)
	switch t.State {
	case Success:
		a.Ended = t.Succeeded
	case Failure:
		a.Ended, a.Exception = t.Failed, t.Exception
	case Revoked:
		a.Ended = t.Revoked
	case Rejected:
		a.Ended = t.Rejected
	}
	return append(all, a)
}

// view returns a copy for readers.
func (t *entry) view() Task {
	v := t.Task
	v.Attempts = t.attempts()
	return v
}

// parseETA reads a time as Celery writes it.
func parseETA(s string) (Seconds, bool) {
	if s == "" {
		return 0, false
	}
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} { // without a zone it is UTC
		if at, err := time.Parse(layout, s); err == nil {
			return secondsOf(at), true
		}
	}
	return 0, false
}

// later orders tasks by the time of their state, the latest first.
func later(a, b *Task) int { return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.ID, a.ID)) }
