package worker

import (
	"bytes"
	"strings"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// Bounds of what is written of one value to be shown: in an event, of which about a
// thousand characters are seen, and in an answer to remote control.
const (
	shownInEvent  = 8 << 10
	shownInAnswer = 64 << 10
)

// shown is what others get to see of the arguments of a task.
type shown struct {
	args, kwargs         protocol.Raw // values
	argsRepr, kwargsRepr string
}

// show hides the secrets in the arguments of m. The representations that the
// producer has sent hold the secrets too: those that Celery made are made anew, and
// those of the producer's own choice, which may show less than the arguments, are
// searched.
func show(r *redact.Redactor, m *protocol.Message, names []string) shown {
	secrets := secretsOf(r, m, names)
	s := shown{args: r.Args(m.Args, names, secrets...), kwargs: r.Value(m.Kwargs, secrets...)}
	tuple := strings.HasPrefix(m.ArgsRepr, "(")
	args := func(raw protocol.Raw) string { return canvas.ArgsRepr(raw, tuple) }
	s.argsRepr = reprOf(r, m.ArgsRepr, m.Args, s.args, args, secrets)
	s.kwargsRepr = reprOf(r, m.KwargsRepr, m.Kwargs, s.kwargs, canvas.KwargsRepr, secrets)
	return s
}

// reprOf shows arguments of which safe has the secrets hidden, where the producer has sent
// a representation, or "".
func reprOf(r *redact.Redactor, sent string, raw, safe protocol.Raw, repr func(protocol.Raw) string, secrets []string) string {
	made := repr(raw)
	switch {
	case sent != "" && sent != made:
		return r.Text(sent, secrets...)
	case bytes.Equal(raw, safe):
		return made
	}
	return repr(safe)
}

func secretsOf(r *redact.Redactor, m *protocol.Message, names []string) []string {
	return append(r.Secrets(m.Args, names), r.Secrets(m.Kwargs, nil)...)
}

func (w *Worker) show(m *protocol.Message, most int) shown {
	if string(m.Args) == "[]" && string(m.Kwargs) == "{}" && m.ArgsRepr == "()" && m.KwargsRepr == "{}" {
		return shown{args: m.Args, kwargs: m.Kwargs, argsRepr: m.ArgsRepr, kwargsRepr: m.KwargsRepr}
	}
	return show(w.hiding(m).Bounded(most), m, w.definition(m.Task).parameters)
}

// hiding returns the rules for the arguments of a task. Those of Celery's own tasks
// are the arguments of others, without their names.
func (w *Worker) hiding(m *protocol.Message) *redact.Redactor {
	if w.definition(m.Task).ArgumentsAreSecret || strings.HasPrefix(m.Task, "celery.") {
		return w.redactor.Unnamed()
	}
	return w.redactor
}

func (w *Worker) secrets(m *protocol.Message) []string {
	return secretsOf(w.hiding(m), m, w.definition(m.Task).parameters)
}

// showText is a text, such as that of an error, without the secrets of the arguments.
func (w *Worker) showText(m *protocol.Message, text string) string {
	if text == "" {
		return ""
	}
	return w.redactor.Text(text, w.secrets(m)...)
}

// showResult is the representation of a result in an event.
func (w *Worker) showResult(m *protocol.Message, result protocol.Raw) string {
	if result.IsNull() {
		return "None"
	}
	return canvas.SafeRepr(w.redactor.Bounded(shownInEvent).Value(result, w.secrets(m)...))
}

// showException is the representation of an exception in an event. Its arguments are
// searched before they are quoted and cut.
func (w *Worker) showException(m *protocol.Message, e *protocol.Exception) string {
	if e.Type == "NotRegistered" && len(e.Args) == 1 {
		return "NotRegistered(" + pythonText(m.Task) + ")" // as Celery has it in its event
	}
	secrets, bounded := w.secrets(m), w.redactor.Bounded(shownInEvent)
	safe := &protocol.Exception{Type: bounded.Text(e.Type, secrets...), Module: e.Module, Args: make([]any, len(e.Args))}
	for i, a := range e.Args {
		raw, err := canvas.ExceptionArg(a)
		if err != nil {
			raw = protocol.Raw(`"` + redact.Mark + `"`)
		}
		safe.Args[i] = bounded.Value(raw, secrets...)
	}
	text := canvas.ReprException(safe)
	if len(text) > 4096 {
		text = strings.ToValidUTF8(text[:4096], "") + "..."
	}
	return text
}

// showName is the name that a task is shown under.
func (w *Worker) showName(m *protocol.Message) string {
	if m.Shadow != "" {
		return w.showText(m, m.Shadow)
	}
	return m.Task
}
