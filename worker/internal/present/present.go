// Package present shows tasks to others, in events, answers, logs and results, without the
// secrets in their arguments.
package present

import (
	"bytes"
	"strings"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// Bounds of the bytes that are shown of one value: in an event, of which monitors show
// about a thousand characters, and in an answer to remote control.
const (
	InEvent  = 8 << 10
	InAnswer = 64 << 10
)

// Arguments are the arguments of a task with their secrets hidden.
type Arguments struct {
	Args, Kwargs         protocol.Raw
	ArgsRepr, KwargsRepr string
}

// Hide hides the secrets in the arguments of m. The representations that the producer sent
// hold the secrets, too. One that Celery made is made anew. One of the producer's own
// choice may show less than the arguments, so it is searched for secrets. names are the
// names of the positional arguments.
func Hide(r *redact.Redactor, m *protocol.Message, names []string) Arguments {
	secrets := secretsOf(r, m, names)
	s := Arguments{Args: r.Args(m.Args, names, secrets...), Kwargs: r.Value(m.Kwargs, secrets...)}
	tuple := strings.HasPrefix(m.ArgsRepr, "(")
	args := func(raw protocol.Raw) string { return canvas.ArgsRepr(raw, tuple) }
	s.ArgsRepr = reprOf(r, m.ArgsRepr, m.Args, s.Args, args, secrets)
	s.KwargsRepr = reprOf(r, m.KwargsRepr, m.Kwargs, s.Kwargs, canvas.KwargsRepr, secrets)
	return s
}

// reprOf represents arguments. safe has their secrets hidden; sent is the representation of
// the producer, or "".
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

// Rules tell how the arguments of a task are shown.
type Rules struct {
	Parameters []string // names of the positional arguments, as far as known
	Secret     bool     // texts and numbers without a name in an object are hidden, too
}

// Presenter shows tasks without their secrets. Make one with New.
type Presenter struct {
	redactor *redact.Redactor
	rules    func(task string) Rules
}

// New returns a Presenter that hides what r finds, by the rules of each task.
func New(r *redact.Redactor, rules func(task string) Rules) *Presenter {
	return &Presenter{redactor: r, rules: rules}
}

// Arguments shows the arguments of m, at most so many bytes of each value.
func (p *Presenter) Arguments(m *protocol.Message, most int) Arguments {
	if string(m.Args) == "[]" && string(m.Kwargs) == "{}" && m.ArgsRepr == "()" && m.KwargsRepr == "{}" {
		return Arguments{Args: m.Args, Kwargs: m.Kwargs, ArgsRepr: m.ArgsRepr, KwargsRepr: m.KwargsRepr}
	}
	rules := p.rules(m.Task)
	return Hide(p.hiding(m, rules).Bounded(most), m, rules.Parameters)
}

// hiding returns the Redactor for the arguments of a task. The arguments of Celery's own
// tasks are those of other tasks, without their names.
func (p *Presenter) hiding(m *protocol.Message, rules Rules) *redact.Redactor {
	if rules.Secret || strings.HasPrefix(m.Task, "celery.") {
		return p.redactor.Unnamed()
	}
	return p.redactor
}

// secrets returns the secrets in the arguments of m.
func (p *Presenter) secrets(m *protocol.Message) []string {
	rules := p.rules(m.Task)
	return secretsOf(p.hiding(m, rules), m, rules.Parameters)
}

// Text shows a text, such as that of an error of m.
func (p *Presenter) Text(m *protocol.Message, text string) string {
	if text == "" {
		return ""
	}
	return p.redactor.Text(text, p.secrets(m)...)
}

// Result shows a result as in an event.
func (p *Presenter) Result(m *protocol.Message, result protocol.Raw) string {
	if result.IsNull() {
		return "None"
	}
	return canvas.SafeRepr(p.redactor.Bounded(InEvent).Value(result, p.secrets(m)...))
}

// Exception shows an exception as in an event. Its arguments are searched for secrets
// before they are quoted and cut.
func (p *Presenter) Exception(m *protocol.Message, e *protocol.Exception) string {
	if e.Type == "NotRegistered" && len(e.Args) == 1 {
		return "NotRegistered(" + canvas.ReprText(m.Task) + ")" // as Celery has it in its event
	}
	secrets, bounded := p.secrets(m), p.redactor.Bounded(InEvent)
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

// Name returns the name that a task is shown under.
func (p *Presenter) Name(m *protocol.Message) string {
	if m.Shadow != "" {
		return p.Text(m, m.Shadow)
	}
	return m.Task
}
