package worker

import (
	"time"

	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/protocol"
)

// taskEvents writes the events of tasks with the fields that Celery gives them. Their
// names are in celery.events.
type taskEvents struct {
	*events.Dispatcher
	present *presenter
}

// received adds the event of a message that was claimed.
func (t taskEvents) received(m *protocol.Message) {
	t.Record("task-received", func(e *events.Members) {
		s := t.present.arguments(m, shownInEvent)
		e.Text("uuid", m.ID)
		e.Text("name", t.present.name(m))
		e.Text("args", s.argsRepr)
		e.Text("kwargs", s.kwargsRepr)
		e.TextOrNull("root_id", m.RootID)
		e.TextOrNull("parent_id", m.ParentID)
		e.Number("retries", m.Retries)
		e.Time("eta", m.ETA)
		e.Time("expires", m.Expires)
	})
}

// started adds the event of a run that begins.
func (t taskEvents) started(m *protocol.Message) {
	t.Record("task-started", func(e *events.Members) { e.Text("uuid", m.ID) })
}

// succeeded prepares the event of a success.
func (t taskEvents) succeeded(m *protocol.Message, result protocol.Raw, runtime time.Duration) *events.Prepared {
	return t.Prepare("task-succeeded", func(e *events.Members) {
		e.Text("uuid", m.ID)
		e.Text("result", t.present.result(m, result))
		e.Seconds("runtime", runtime)
	})
}

// failed prepares the event of a failure.
func (t taskEvents) failed(m *protocol.Message, x *protocol.Exception, traceback string) *events.Prepared {
	return t.Prepare("task-failed", func(e *events.Members) { t.exception(e, m, x, traceback) })
}

// retried prepares the event of a retry.
func (t taskEvents) retried(m *protocol.Message, x *protocol.Exception, traceback string) *events.Prepared {
	return t.Prepare("task-retried", func(e *events.Members) { t.exception(e, m, x, traceback) })
}

func (t taskEvents) exception(e *events.Members, m *protocol.Message, x *protocol.Exception, traceback string) {
	e.Text("uuid", m.ID)
	e.Text("exception", t.present.exception(m, x))
	if traceback != "" {
		e.Text("traceback", t.present.text(m, traceback))
	}
}

// rejected prepares the event of a rejection.
func (t taskEvents) rejected(m *protocol.Message, requeue bool) *events.Prepared {
	return t.Prepare("task-rejected", func(e *events.Members) {
		e.Text("uuid", m.ID)
		e.Bool("requeue", requeue)
	})
}

// revoked prepares the event of a revocation.
func (t taskEvents) revoked(m *protocol.Message, reason string) *events.Prepared {
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

// settled prepares the event of the outcome of a run, to be added once the outcome is
// stored. It is nil when there is none.
func (t taskEvents) settled(m *protocol.Message, o outcome, runtime time.Duration) *events.Prepared {
	switch {
	case o.retry:
		return t.retried(m, o.exception, o.traceback)
	case o.state == protocol.StateSuccess:
		raw, _ := o.result.(protocol.Raw)
		return t.succeeded(m, raw, runtime)
	case o.state == protocol.StateRevoked:
		return t.revoked(m, "terminated")
	case o.state == protocol.StateFailure:
		if o.rejected() {
			return t.rejected(m, false)
		}
		return t.failed(m, o.exception, o.traceback)
	case o.requeue:
		return t.rejected(m, true)
	}
	return nil
}
