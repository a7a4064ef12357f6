package worker

import (
	"strconv"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// The events of a task, each with the fields that Celery gives it. Their names
// are in celery.events.

// text makes a field of a text; "" is null.
func text(name, value string) protocol.Field {
	if value == "" {
		return protocol.Field{Name: name, Value: protocol.Raw("null")}
	}
	return literal(name, value)
}

// literal makes a field of a text, even of none.
func literal(name, value string) protocol.Field {
	raw, err := protocol.Marshal(value)
	if err != nil {
		raw = []byte("null")
	}
	return protocol.Field{Name: name, Value: raw}
}

func instant(name string, t time.Time) protocol.Field {
	if t.IsZero() {
		return text(name, "")
	}
	return literal(name, protocol.FormatTime(t))
}

func truth(name string, v bool) protocol.Field {
	return protocol.Field{Name: name, Value: strconv.AppendBool(nil, v)}
}

func (w *Worker) eventReceived(m *protocol.Message) {
	if !w.events.wanted() {
		return
	}
	w.events.task("task-received", func() []protocol.Field {
		s := w.show(m, shownInEvent)
		return []protocol.Field{
			literal("uuid", m.ID), literal("name", w.showName(m)), literal("args", s.argsRepr), literal("kwargs", s.kwargsRepr),
			text("root_id", m.RootID), text("parent_id", m.ParentID),
			{Name: "retries", Value: strconv.AppendInt(nil, int64(m.Retries), 10)},
			instant("eta", m.ETA), instant("expires", m.Expires),
		}
	})
}

func (w *Worker) eventStarted(m *protocol.Message) {
	if !w.events.wanted() {
		return
	}
	w.events.task("task-started", func() []protocol.Field { return []protocol.Field{literal("uuid", m.ID)} })
}

func (w *Worker) eventSucceeded(m *protocol.Message, result protocol.Raw, runtime time.Duration) {
	if !w.events.wanted() {
		return
	}
	w.events.task("task-succeeded", func() []protocol.Field {
		seconds, err := protocol.Marshal(runtime.Seconds())
		if err != nil {
			seconds = []byte("0.0")
		}
		return []protocol.Field{
			literal("uuid", m.ID), literal("result", w.showResult(m, result)), {Name: "runtime", Value: seconds},
		}
	})
}

// eventFailed tells of a failure, and eventRetried of a retry.
func (w *Worker) eventFailed(m *protocol.Message, e *protocol.Exception, traceback string) {
	w.events.task("task-failed", func() []protocol.Field { return w.exceptionFields(m, e, traceback) })
}

func (w *Worker) eventRetried(m *protocol.Message, e *protocol.Exception, traceback string) {
	w.events.task("task-retried", func() []protocol.Field { return w.exceptionFields(m, e, traceback) })
}

func (w *Worker) exceptionFields(m *protocol.Message, e *protocol.Exception, traceback string) []protocol.Field {
	fields := []protocol.Field{literal("uuid", m.ID), literal("exception", w.showException(m, e))}
	if traceback != "" {
		fields = append(fields, literal("traceback", w.showText(m, traceback)))
	}
	return fields
}

func (w *Worker) eventRejected(m *protocol.Message, requeue bool) {
	w.events.task("task-rejected", func() []protocol.Field {
		return []protocol.Field{literal("uuid", m.ID), truth("requeue", requeue)}
	})
}

func (w *Worker) eventRevoked(m *protocol.Message, reason string) {
	w.events.task("task-revoked", func() []protocol.Field {
		signal := text("signum", "")
		if reason == "terminated" {
			signal = protocol.Field{Name: "signum", Value: protocol.Raw("15")}
		}
		return []protocol.Field{
			literal("uuid", m.ID), truth("terminated", reason == "terminated"), signal, truth("expired", reason == "expired"),
		}
	})
}

// eventEnded tells how a run ended.
func (w *Worker) eventEnded(m *protocol.Message, o outcome, runtime time.Duration) {
	switch {
	case o.retry:
		w.eventRetried(m, o.exception, o.traceback)
	case o.state == protocol.StateSuccess:
		raw, _ := o.result.(protocol.Raw)
		w.eventSucceeded(m, raw, runtime)
	case o.state == protocol.StateRevoked:
		w.eventRevoked(m, "terminated")
	case o.state == protocol.StateFailure:
		if o.rejected() {
			w.eventRejected(m, false)
			return
		}
		w.eventFailed(m, o.exception, o.traceback)
	case o.requeue:
		w.eventRejected(m, true)
	}
}
