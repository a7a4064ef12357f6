package monitor

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

func workerPart(w WorkerState) Part {
	p := newPart(State{OK: w.State == "running", Text: w.State})
	switch {
	case w.Waits != "":
		p = p.degraded(w.Waits, "the worker starts by itself when the reason is gone")
	case w.State == "stopped":
		p.Reason, p.Advice = "the worker has stopped", "start the process again; its supervisor should"
	case !p.OK:
		p = p.degraded("the worker is "+w.State, "")
	case w.LeftBehind > 0:
		p = p.degraded(fmt.Sprintf("handlers that ignore the end of their context: %d", w.LeftBehind),
			"search the log for \"hard time limit exceeded\"; a restart frees their memory")
	}
	p.check("slots", PartOK, fmt.Sprintf("%d, %d of them in use, %d tasks waiting", w.Concurrency, w.Running, w.Waiting))
	p.check("handlers", statusOf(w.LeftBehind == 0, PartDegraded), fmt.Sprintf("left behind: %d", w.LeftBehind))
	return p
}

// keysPart tells of keys in the way. The worker consumes what they do not concern.
func keysPart(w WorkerState) Part {
	switch {
	case len(w.Faults) > 0:
	case w.State == "running" && !w.Consuming:
		return newPart(State{OK: true, Text: "not known while no message can be taken; no key had a wrong type before"})
	default:
		return newPart(State{OK: true, Text: "no key has a wrong type"})
	}
	p := newPart(State{Text: strings.Join(w.Faults, "; ")})
	p = p.degraded(p.Text, "run the command that the text names")
	for i, f := range w.Faults {
		p.check(fmt.Sprintf("fault %d", i+1), PartDegraded, f)
	}
	return p
}

func (h *Health) configurationPart(w WorkerState, now time.Time) Part {
	if w.Waits != "" {
		return newPart(State{Text: w.Waits}).degraded(w.Waits, "the worker asks again by itself; check the secrets service if this takes minutes")
	}
	p := newPart(h.cfg.Configuration).advised("run config check")
	p.check("variables", statusOf(p.OK, PartFailed), p.Text)
	secrets := h.secrets()
	if reason, advice := secretsFault(secrets); reason != "" && p.Status == PartOK {
		p = p.degraded(reason, advice)
	}
	for _, s := range secrets {
		p.check("secret "+s.Name, statusOf(s.Fault == "", PartDegraded), s.text(now))
	}
	if h.cfg.Templates != nil {
		p = h.cfg.Templates().onto(p, now)
	}
	return p.answered(h.started, now)
}

// TemplatesState describes the templates of mails.
type TemplatesState struct {
	Dir     string // of the operator's own; "": there are none
	Version string // of the templates in use
	Files   int    // of the operator, in use
	Since   time.Time

	Fault  string    // of templates that are not used because of it, with file and line; "": none
	Faulty time.Time // since when
}

// onto adds the templates to the part of the configuration.
func (t TemplatesState) onto(p Part, now time.Time) Part {
	switch {
	case t.Dir == "":
		return p
	case t.Fault != "":
		text := fmt.Sprintf("templates in %s are faulty for %s, and the former ones stay in use: %s", t.Dir, span(now.Sub(t.Faulty)), t.Fault)
		p.check("templates", PartFailed, text)
		p.Text = text
		return p.degraded(text, "correct the file; it is read again within 10 seconds").from(t.Faulty)
	}
	p.check("templates", PartOK, fmt.Sprintf("%d files of %s, version %s, for %s", t.Files, t.Dir, t.Version, span(now.Sub(t.Since))))
	return p
}

// summarized is an error with words that all may read.
type summarized interface {
	error
	Summary() string
}

func (h *Health) databasePart(now time.Time) Part {
	if h.cfg.Database == nil {
		return newPart(State{OK: true, Text: "not used"})
	}
	const advice = "see that the server of DATABASE_URL, or of the variables DB_*, answers; the command doctor examines it. Mails wait in their queues, and no attempt is spent"
	h.mu.Lock()
	last := h.database
	h.mu.Unlock()
	p := unasked().from(h.started)
	if !last.at.IsZero() {
		p = newPart(lookupState(last, now)).from(last.down).answered(last.at, now)
	}
	lookup := p
	breaker, isOpen := h.openDatabase(now)
	if isOpen {
		p = newPart(breaker.State).answered(last.at, now)
		p.Since = breaker.Since
		p.check("circuit breaker", PartFailed, breaker.Text)
	}
	p.check("lookup", lookup.Status, lookup.Text)
	if p.Unasked() {
		return p
	}
	return p.advised(advice)
}

// lookupState returns the state of the database by its last answer.
func lookupState(last checked, now time.Time) State {
	if last.err != nil {
		down := span(now.Sub(last.down))
		if fault, ok := errors.AsType[summarized](last.err); ok {
			return State{Text: "no recipient can be looked up for " + down + ": " + fault.Summary()}
		}
		return State{Text: "no answer for " + down}
	}
	return State{OK: true, Text: "answered " + span(now.Sub(last.at)) + " ago"}
}

func (h *Health) mailPart(now time.Time) Part {
	if h.cfg.Mail == nil {
		return newPart(State{OK: true, Text: "not used"})
	}
	m := h.cfg.Mail()
	if m.Unasked {
		return unasked().from(h.started)
	}
	p := newPart(m.state(now))
	at := m.Accepted
	var since time.Time // when the last relay failed
	for _, r := range m.Faulty {
		at, since = latest(at, r.Tried), latest(since, r.Since)
		p.check("relay "+r.Name, PartFailed, fmt.Sprintf("takes no mails for %s, %s: %s", span(now.Sub(r.Since)), r.progress(now), r.Fault))
	}
	for _, r := range m.Untried {
		at = latest(at, r.Tried)
		p.check("relay "+r.Name, PartDegraded, r.untried(now))
	}
	for _, name := range m.Retried {
		p.check("relay "+name, PartDegraded, "tried again after an outage, with few mails at a time")
	}
	switch {
	case m.stuck():
		p = p.advised("correct the cause that the text names at the relay or in the SMTP variables; mails wait in their queues, and no attempt is spent").from(since)
	case len(m.Faulty) > 0:
		p = p.degraded(p.Text, "correct the cause before the other relays fail, too").from(since)
	case len(m.Retried) > 0:
		p = p.degraded("tried again after an outage", "")
	case len(m.Untried) > 0:
		p = p.degraded(p.Text, "the next mail tells; send one to yourself if none is due")
	}
	return p.answered(at, now)
}

// state returns the state in words.
func (m *MailState) state(now time.Time) State {
	var faults []string
	var since time.Time // when the last relay failed
	for _, r := range m.Faulty {
		since = latest(since, r.Since)
		faults = append(faults, fmt.Sprintf("%s takes none for %s, %s: %s", r.Name, span(now.Sub(r.Since)), r.progress(now), r.Fault))
	}
	switch {
	case m.stuck() && len(m.Faulty) == 1:
		return State{Text: fmt.Sprintf("no mail gets out for %s, %s: %s", span(now.Sub(since)), m.Faulty[0].progress(now), m.Faulty[0].Fault)}
	case m.stuck():
		return State{Text: fmt.Sprintf("no mail gets out for %s: %s", span(now.Sub(since)), strings.Join(faults, "; "))}
	case len(faults) > 0:
		return State{Text: "mails go by the other relays: " + strings.Join(faults, "; ")}
	}
	text := "no mail sent yet"
	if len(m.Untried) > 0 {
		return State{OK: true, Text: m.Untried[0].untried(now)}
	}
	if !m.Accepted.IsZero() {
		text = "sent a mail " + span(now.Sub(m.Accepted)) + " ago"
	}
	if len(m.Retried) > 0 {
		text += "; tried again after an outage, with few mails at a time: " + strings.Join(m.Retried, ", ")
	}
	return State{OK: true, Text: text}
}
