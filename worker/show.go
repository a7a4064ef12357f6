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

// shownForRetry returns the arguments of the attempt that a handler has asked for, as
// Celery shows them when there is none, without their secrets.
func (t *Task) shownForRetry(e *RetryError) (args, kwargs string) {
	if t.Message == nil || t.worker == nil {
		return "(...)", "{...}" // of a test of the handler alone
	}
	m, err := again(t.Message, e)
	if err != nil {
		m, e = t.Message, &RetryError{} // those have a form
	}
	next := *m
	if e.Args != nil || next.ArgsRepr == "" || next.ArgsRepr == canvas.ArgsRepr(next.Args, false) {
		next.ArgsRepr = canvas.ArgsRepr(next.Args, true)
	}
	if e.Kwargs != nil || next.KwargsRepr == "" {
		next.KwargsRepr = canvas.KwargsRepr(next.Kwargs)
	}
	s := t.worker.present.arguments(&next, shownInEvent)
	return s.argsRepr, s.kwargsRepr
}

func secretsOf(r *redact.Redactor, m *protocol.Message, names []string) []string {
	return append(r.Secrets(m.Args, names), r.Secrets(m.Kwargs, nil)...)
}

// presenter shows tasks to others, without the secrets in their arguments.
type presenter struct {
	redactor   *redact.Redactor
	definition func(task string) *definition
}

// arguments shows the arguments of m, at most so many bytes of each value.
func (p *presenter) arguments(m *protocol.Message, most int) shown {
	if string(m.Args) == "[]" && string(m.Kwargs) == "{}" && m.ArgsRepr == "()" && m.KwargsRepr == "{}" {
		return shown{args: m.Args, kwargs: m.Kwargs, argsRepr: m.ArgsRepr, kwargsRepr: m.KwargsRepr}
	}
	return show(p.hiding(m).Bounded(most), m, p.definition(m.Task).parameters)
}

// hiding returns the rules for the arguments of a task. Those of Celery's own tasks
// are the arguments of others, without their names.
func (p *presenter) hiding(m *protocol.Message) *redact.Redactor {
	if p.definition(m.Task).ArgumentsAreSecret || strings.HasPrefix(m.Task, "celery.") {
		return p.redactor.Unnamed()
	}
	return p.redactor
}

// secrets returns the secrets in the arguments of m.
func (p *presenter) secrets(m *protocol.Message) []string {
	return secretsOf(p.hiding(m), m, p.definition(m.Task).parameters)
}

// text shows a text, such as that of an error.
func (p *presenter) text(m *protocol.Message, text string) string {
	if text == "" {
		return ""
	}
	return p.redactor.Text(text, p.secrets(m)...)
}

// result shows a result as in an event.
func (p *presenter) result(m *protocol.Message, result protocol.Raw) string {
	if result.IsNull() {
		return "None"
	}
	return canvas.SafeRepr(p.redactor.Bounded(shownInEvent).Value(result, p.secrets(m)...))
}

// exception shows an exception as in an event. Its arguments are searched for secrets
// before they are quoted and cut.
func (p *presenter) exception(m *protocol.Message, e *protocol.Exception) string {
	if e.Type == "NotRegistered" && len(e.Args) == 1 {
		return "NotRegistered(" + canvas.ReprText(m.Task) + ")" // as Celery has it in its event
	}
	secrets, bounded := p.secrets(m), p.redactor.Bounded(shownInEvent)
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

// name returns the name that a task is shown under.
func (p *presenter) name(m *protocol.Message) string {
	if m.Shadow != "" {
		return p.text(m, m.Shadow)
	}
	return m.Task
}
