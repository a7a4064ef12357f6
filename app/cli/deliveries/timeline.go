package deliveries

import (
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/store/ledger"
)

// Timeline returns the life of a mail for people, in lines of up to width columns.
func Timeline(h ledger.History, width int) string {
	var b strings.Builder
	fact := func(name, text string) {
		if text != "" {
			const indent = "           "
			b.WriteString(term.Fold(fmt.Sprintf("%-*s%s", len(indent), name, text), width, indent) + "\n")
		}
	}
	fact("Mail", about(h.Mail))
	fact("Task", term.Line(h.TaskID))
	fact("State", fmt.Sprintf("%s since %s, %s after the first claim", h.State, term.Clock(h.StateAt), term.Spell(h.StateAt.Sub(h.FirstSeen))))
	if h.NextAt != nil {
		fact("Next", "attempt at "+term.Clock(*h.NextAt)+", "+term.Until(*h.NextAt))
	}
	fact("Message-ID", messageID(h.Events))
	b.WriteString("\n" + term.Clock(h.FirstSeen) + "  first claim by a worker\n")
	for _, e := range h.Events {
		b.WriteString(step(e, h.FirstSeen, width))
	}
	return b.String()
}

// about names a mail: its kind, recipient, user and booking.
func about(m ledger.Mail) string {
	text := term.Line(m.Kind) + " mail"
	to := recipient(m)
	if to != "" {
		text += " to " + term.Line(to)
	}
	var ids []string
	if m.UserID != nil {
		if user := fmt.Sprintf("user %d", *m.UserID); to != user {
			ids = append(ids, user)
		}
	}
	if m.Booking != "" {
		ids = append(ids, "booking or event "+term.Line(m.Booking))
	}
	if len(ids) > 0 {
		text += " (" + strings.Join(ids, ", ") + ")"
	}
	return text
}

// step returns one event of a timeline.
func step(e ledger.Record, first time.Time, width int) string {
	const indent = "              "
	head := fmt.Sprintf("%12s  %s", "+"+term.Spell(e.At.Sub(first)), e.State)
	if e.Attempt > 0 {
		head += fmt.Sprintf(", attempt %d", e.Attempt)
	}
	if e.Reason != "" {
		head += ": " + term.Line(e.Reason)
	}
	var b strings.Builder
	add := func(text string) { b.WriteString(term.Fold(text, width, indent) + "\n") }
	add(head)
	if server := server(e); server != "" {
		add(indent + server)
	}
	if said := said(e); said != "" {
		add(indent + said)
	}
	if phases := phases(e.Phases); phases != "" {
		add(indent + phases)
	}
	if e.NextAt != nil {
		add(indent + "next attempt " + term.Clock(*e.NextAt))
	}
	return b.String()
}

// server tells where an event happened.
func server(e ledger.Record) string {
	var parts []string
	if e.Endpoint != "" {
		kind := "relay"
		if e.Stage == ledger.StageBounce {
			kind = "server"
		}
		parts = append(parts, kind+" "+term.Line(e.Endpoint))
	}
	if e.TLS != "" {
		parts = append(parts, term.Line(e.TLS))
	}
	if e.QueueID != "" {
		parts = append(parts, "queue id "+term.Line(e.QueueID))
	}
	if e.Worker != "" {
		parts = append(parts, "worker "+term.Line(e.Worker))
	}
	return strings.Join(parts, ", ")
}

// said returns the reply of a mail server with its words.
func said(e ledger.Record) string {
	text := reply(e.Code, e.Enhanced, e.Stage)
	if e.Text != "" {
		if text != "" {
			text += ": "
		}
		text += "“" + term.Line(e.Text) + "”"
	}
	return text
}

// phases returns the durations of the steps of an attempt, without those of less than half a
// millisecond.
func phases(all []ledger.Phase) string {
	var parts []string
	for _, p := range all {
		if p.Took < time.Millisecond/2 {
			continue
		}
		parts = append(parts, term.Line(p.Name)+" "+term.Spell(p.Took))
	}
	return strings.Join(parts, ", ")
}

// messageID returns the latest Message-ID of the events.
func messageID(events []ledger.Record) string {
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].MessageID != "" {
			return term.Line(events[i].MessageID)
		}
	}
	return ""
}
