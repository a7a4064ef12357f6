// Package taskevents writes the events of tasks as celery.events does.
package taskevents

import (
	"time"

	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/internal/present"
	"github.com/evently/workers/worker/protocol"
)

// Writer writes the events of tasks with the fields that Celery gives them. The fields and
// the exceptions have their secrets hidden.
type Writer struct {
	*events.Dispatcher
	present *present.Presenter
}

// New returns a Writer that sends its events by d.
func New(d *events.Dispatcher, p *present.Presenter) Writer { return Writer{d, p} }

// Received adds the event of a message that was claimed.
func (t Writer) Received(m *protocol.Message) {
	t.Record("task-received", func(e *events.Members) {
		s := t.present.Arguments(m, present.InEvent)
		e.Text("uuid", m.ID)
		e.Text("name", t.present.Name(m))
		e.Text("args", s.ArgsRepr)
		e.Text("kwargs", s.KwargsRepr)
		e.TextOrNull("root_id", m.RootID)
		e.TextOrNull("parent_id", m.ParentID)
		e.Number("retries", m.Retries)
		e.Time("eta", m.ETA)
		e.Time("expires", m.Expires)
	})
}

// Started adds the event of a run that begins.
func (t Writer) Started(m *protocol.Message) {
	t.Record("task-started", func(e *events.Members) { e.Text("uuid", m.ID) })
}

// Succeeded prepares the event of a success.
func (t Writer) Succeeded(m *protocol.Message, result protocol.Raw, runtime time.Duration) *events.Prepared {
	return t.Prepare("task-succeeded", func(e *events.Members) {
		e.Text("uuid", m.ID)
		e.Text("result", t.present.Result(m, result))
		e.Seconds("runtime", runtime)
	})
}

// Failed prepares the event of a failure.
func (t Writer) Failed(m *protocol.Message, x *protocol.Exception, traceback string) *events.Prepared {
	return t.Prepare("task-failed", func(e *events.Members) { t.exception(e, m, x, traceback) })
}

// Retried prepares the event of a retry.
func (t Writer) Retried(m *protocol.Message, x *protocol.Exception, traceback string) *events.Prepared {
	return t.Prepare("task-retried", func(e *events.Members) { t.exception(e, m, x, traceback) })
}

func (t Writer) exception(e *events.Members, m *protocol.Message, x *protocol.Exception, traceback string) {
	e.Text("uuid", m.ID)
	e.Text("exception", t.present.Exception(m, x))
	if traceback != "" {
		e.Text("traceback", t.present.Text(m, traceback))
	}
}

// Rejected prepares the event of a rejection.
func (t Writer) Rejected(m *protocol.Message, requeue bool) *events.Prepared {
	return t.Prepare("task-rejected", func(e *events.Members) {
		e.Text("uuid", m.ID)
		e.Bool("requeue", requeue)
	})
}

// Revoked prepares the event of a revocation.
func (t Writer) Revoked(m *protocol.Message, reason string) *events.Prepared {
	return t.Prepare("task-revoked", func(e *events.Members) {
		e.Text("uuid", m.ID)
		e.Bool("terminated", reason == "terminated")
		if reason == "terminated" {
			e.Number("signum", 15)
		} else {
			e.Null("signum")
		}
		e.Bool("expired", reason == "expired")
	})
}
