// Package life shows the history of a mail as a timeline, for the pages of mails and of tasks.
package life

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

// Tone returns the colour of a state.
func Tone(s ledger.State) web.Tone {
	switch s {
	case ledger.Accepted:
		return web.Good
	case ledger.Sending:
		return web.Info
	case ledger.Queued, ledger.Deferred, ledger.Unknown:
		return web.Wait
	case ledger.Suppressed:
		return web.Calm
	}
	return web.Bad
}

// Chip returns a state in its colour.
func Chip(s ledger.State) web.Chip { return web.Chip{Text: s.String(), Tone: Tone(s)} }

// Timeline returns the life of a mail: the events of one attempt are nested in it.
func Timeline(h ledger.History) web.Timeline {
	line := web.Timeline{{Time: h.FirstSeen, Title: "Taken from the queue", Tone: web.Info}}
	for i := 0; i < len(h.Events); {
		n := 1
		for i+n < len(h.Events) && h.Events[i].Attempt > 0 && h.Events[i+n].Attempt == h.Events[i].Attempt && h.Events[i+n].Stage != ledger.StageBounce {
			n++
		}
		line = append(line, attempt(h.Events[i:i+n], h.FirstSeen))
		i += n
	}
	if h.NextAt != nil {
		line = append(line, web.Event{Time: *h.NextAt, Title: "Next attempt", Text: words.Until(*h.NextAt), Tone: web.Wait})
	}
	return line
}

// attempt returns the events of one attempt as one event; several are nested in it.
func attempt(events []ledger.Record, first time.Time) web.Event {
	last := events[len(events)-1]
	e := Event(last)
	e.After = last.At.Sub(first)
	if last.Attempt == 0 || last.Stage == ledger.StageBounce {
		return e
	}
	if len(events) == 1 {
		e.Title = fmt.Sprintf("Attempt %d", last.Attempt)
		return e
	}
	outer := web.Event{Time: events[0].At, After: events[0].At.Sub(first), Title: fmt.Sprintf("Attempt %d", last.Attempt), Chip: Chip(last.State), Tone: Tone(last.State)}
	for _, r := range events {
		inner := Event(r)
		inner.After = r.At.Sub(events[0].At)
		outer.Events = append(outer.Events, inner)
	}
	return outer
}

// Event shows one event of a mail.
func Event(r ledger.Record) web.Event {
	e := web.Event{Time: r.At, Title: title(r), Chip: Chip(r.State), Tone: Tone(r.State), Detail: said(r)}
	if e.Title == "Sending" {
		e.Chip = web.Chip{} // it would say the same
	}
	var texts []string
	if r.Reason != "" {
		texts = append(texts, words.Line(r.Reason))
	}
	if r.NextAt != nil {
		texts = append(texts, "next attempt at "+words.Clock(*r.NextAt))
	}
	e.Text = strings.Join(texts, "; ")
	e.Facts = Facts(r)
	return e
}

func title(r ledger.Record) string {
	switch {
	case r.Stage == ledger.StageBounce:
		return "Report about the mail"
	case r.Stage == ".":
		return "End of the mail"
	case r.Stage != "":
		return words.Line(r.Stage)
	case r.State == ledger.Sending:
		return "Sending"
	}
	return "Event"
}

// said returns the reply of a server with its words, without quotes.
func said(r ledger.Record) string {
	text := verdict.Reply(r.Code, r.Enhanced, "")
	if r.Text == "" {
		return text
	}
	return strings.TrimSpace(text + " " + words.Line(r.Text))
}

// Facts returns where an event happened, and the durations of its phases.
func Facts(r ledger.Record) (facts []web.Fact) {
	add := func(name, value string, mono bool) {
		if value != "" {
			facts = append(facts, web.Fact{Name: name, Value: words.Line(value), Mono: mono})
		}
	}
	relay := "relay"
	if r.Stage == ledger.StageBounce {
		relay = "server"
	}
	where := r.Endpoint
	if where != "" && r.TLS != "" {
		where += ", " + r.TLS
	}
	add(relay, where, false)
	add("queue id", r.QueueID, true)
	add("class", r.Class, false)
	add("worker", r.Worker, true)
	add("took", phases(r.Phases), false)
	return facts
}

// phases writes the durations of the steps of an attempt, without the shortest.
func phases(all []ledger.Phase) string {
	var parts []string
	for _, p := range all {
		if p.Took >= time.Millisecond/20 {
			parts = append(parts, phaseName(p.Name)+" "+Milliseconds(p.Took))
		}
	}
	return strings.Join(parts, " · ")
}

// phaseName returns the name of a step of an attempt for people.
func phaseName(name string) string {
	switch name {
	case "wait":
		return "wait"
	case "mail", "rcpt", "data":
		return strings.ToUpper(name)
	case "lookup":
		return "look up"
	case "guard":
		return "claim"
	case "final":
		return "answer"
	}
	return words.Line(name)
}

// Milliseconds writes a duration of less than a second in milliseconds, with a decimal below ten.
func Milliseconds(d time.Duration) string {
	if d >= 999*time.Millisecond {
		return words.Spell(d)
	}
	ms := float64(d.Microseconds()) / 1000
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// Number writes a number with commas.
func Number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// About rounds an estimate to two digits.
func About(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return n / unit * unit
}
