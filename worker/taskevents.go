package worker

import (
	"strconv"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// The events of a task, each with the fields that Celery gives it. Their names
// are in celery.events.

// members are the members of an event, as they are written for every task.
type members struct{ buf []byte }

func (m *members) name(name string) {
	m.buf = append(m.buf, ", "...)
	m.buf = append(protocol.AppendString(m.buf, name), ": "...)
}

// text adds a text, even of none.
func (m *members) text(name, value string) {
	m.name(name)
	m.buf = protocol.AppendString(m.buf, value)
}

// textOrNull adds a text; "" is null.
func (m *members) textOrNull(name, value string) {
	if value == "" {
		m.null(name)
		return
	}
	m.text(name, value)
}

func (m *members) null(name string) {
	m.name(name)
	m.buf = append(m.buf, "null"...)
}

func (m *members) instant(name string, t time.Time) {
	if t.IsZero() {
		m.null(name)
		return
	}
	m.text(name, protocol.FormatTime(t))
}

func (m *members) number(name string, n int) {
	m.name(name)
	m.buf = strconv.AppendInt(m.buf, int64(n), 10)
}

func (m *members) seconds(name string, d time.Duration) {
	m.name(name)
	m.buf = protocol.AppendFloat(m.buf, d.Seconds())
}

func (m *members) truth(name string, v bool) {
	m.name(name)
	m.buf = strconv.AppendBool(m.buf, v)
}

func (w *Worker) eventReceived(m *protocol.Message) {
	w.events.task("task-received", func(e *members) {
		s := w.show(m, shownInEvent)
		e.text("uuid", m.ID)
		e.text("name", w.showName(m))
		e.text("args", s.argsRepr)
		e.text("kwargs", s.kwargsRepr)
		e.textOrNull("root_id", m.RootID)
		e.textOrNull("parent_id", m.ParentID)
		e.number("retries", m.Retries)
		e.instant("eta", m.ETA)
		e.instant("expires", m.Expires)
	})
}

func (w *Worker) eventStarted(m *protocol.Message) {
	w.events.task("task-started", func(e *members) { e.text("uuid", m.ID) })
}

func (w *Worker) eventSucceeded(m *protocol.Message, result protocol.Raw, runtime time.Duration) *written {
	return w.events.write("task-succeeded", func(e *members) {
		e.text("uuid", m.ID)
		e.text("result", w.showResult(m, result))
		e.seconds("runtime", runtime)
	})
}

// eventFailed tells of a failure, and eventRetried of a retry.
func (w *Worker) eventFailed(m *protocol.Message, x *protocol.Exception, traceback string) *written {
	return w.events.write("task-failed", func(e *members) { w.exceptionMembers(e, m, x, traceback) })
}

func (w *Worker) eventRetried(m *protocol.Message, x *protocol.Exception, traceback string) *written {
	return w.events.write("task-retried", func(e *members) { w.exceptionMembers(e, m, x, traceback) })
}

func (w *Worker) exceptionMembers(e *members, m *protocol.Message, x *protocol.Exception, traceback string) {
	e.text("uuid", m.ID)
	e.text("exception", w.showException(m, x))
	if traceback != "" {
		e.text("traceback", w.showText(m, traceback))
	}
}

func (w *Worker) eventRejected(m *protocol.Message, requeue bool) *written {
	return w.events.write("task-rejected", func(e *members) {
		e.text("uuid", m.ID)
		e.truth("requeue", requeue)
	})
}

func (w *Worker) eventRevoked(m *protocol.Message, reason string) *written {
	return w.events.write("task-revoked", func(e *members) {
		e.text("uuid", m.ID)
		e.truth("terminated", reason == "terminated")
		if reason == "terminated" {
			e.number("signum", 15)
		} else {
			e.null("signum")
		}
		e.truth("expired", reason == "expired")
	})
}

// eventEnded is the event of how a run ended, for when that is stored; nil is none.
func (w *Worker) eventEnded(m *protocol.Message, o outcome, runtime time.Duration) *written {
	switch {
	case o.retry:
		return w.eventRetried(m, o.exception, o.traceback)
	case o.state == protocol.StateSuccess:
		raw, _ := o.result.(protocol.Raw)
		return w.eventSucceeded(m, raw, runtime)
	case o.state == protocol.StateRevoked:
		return w.eventRevoked(m, "terminated")
	case o.state == protocol.StateFailure:
		if o.rejected() {
			return w.eventRejected(m, false)
		}
		return w.eventFailed(m, o.exception, o.traceback)
	case o.requeue:
		return w.eventRejected(m, true)
	}
	return nil
}
