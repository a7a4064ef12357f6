package worker

import (
	"strings"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// shown is what others get to see of the arguments of a task.
type shown struct {
	args, kwargs         protocol.Raw // values
	argsRepr, kwargsRepr string
	secrets              []string // what must not be seen elsewhere
}

// show hides the secrets in the arguments of m. The representations that the
// producer has sent are what Celery shows; they hold the secrets too.
func show(r *redact.Redactor, m *protocol.Message, names []string) shown {
	s := shown{args: r.Args(m.Args, names), kwargs: r.Value(m.Kwargs)}
	s.secrets = append(r.Secrets(m.Args, names), r.Secrets(m.Kwargs, nil)...)
	tuple := strings.HasPrefix(m.ArgsRepr, "(")
	if m.ArgsRepr == "" || m.ArgsRepr == canvas.ArgsRepr(m.Args, tuple) {
		s.argsRepr = canvas.ArgsRepr(s.args, tuple)
	} else { // of the producer's own choice
		s.argsRepr = r.Text(m.ArgsRepr, s.secrets...)
	}
	if m.KwargsRepr == "" || m.KwargsRepr == canvas.KwargsRepr(m.Kwargs) {
		s.kwargsRepr = canvas.KwargsRepr(s.kwargs)
	} else {
		s.kwargsRepr = r.Text(m.KwargsRepr, s.secrets...)
	}
	return s
}

func (w *Worker) show(m *protocol.Message) shown {
	d := w.tasks[m.Task]
	return show(w.hiding(d), m, d.parameters)
}

// hiding returns the rules for the arguments of a task.
func (w *Worker) hiding(d definition) *redact.Redactor {
	if d.ArgumentsAreSecret {
		return w.redactor.Unnamed()
	}
	return w.redactor
}

// showResult is the representation of a result in an event.
func (w *Worker) showResult(m *protocol.Message, result protocol.Raw) string {
	return w.redactor.Text(canvas.SafeRepr(w.redactor.Value(result)), w.secrets(m)...)
}

// showException is the representation of an exception in an event.
func (w *Worker) showException(m *protocol.Message, e *protocol.Exception) string {
	text := canvas.ReprException(e)
	if e.Type == "NotRegistered" && len(e.Args) == 1 {
		text = "NotRegistered(" + pythonText(m.Task) + ")" // as Celery has it in its event
	}
	if len(text) > 4096 {
		text = strings.ToValidUTF8(text[:4096], "") + "..."
	}
	return w.redactor.Text(text, w.secrets(m)...)
}

func (w *Worker) secrets(m *protocol.Message) []string {
	d := w.tasks[m.Task]
	r := w.hiding(d)
	return append(r.Secrets(m.Args, d.parameters), r.Secrets(m.Kwargs, nil)...)
}

// showName is the name that a task is shown under.
func showName(m *protocol.Message) string {
	if m.Shadow != "" {
		return m.Shadow
	}
	return m.Task
}
