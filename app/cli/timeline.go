package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/store/ledger"
)

// timeline returns the life of a mail for people, in lines of up to width columns.
func timeline(h ledger.History, width int) string {
	var b strings.Builder
	fact := func(name, text string) {
		if text != "" {
			const indent = "           "
			b.WriteString(fold(fmt.Sprintf("%-*s%s", len(indent), name, text), width, indent) + "\n")
		}
	}
	fact("Mail", about(h.Mail))
	fact("Task", line(h.TaskID))
	fact("State", fmt.Sprintf("%s since %s, %s after the first claim", h.State, clock(h.StateAt), spell(h.StateAt.Sub(h.FirstSeen))))
	if h.NextAt != nil {
		fact("Next", "attempt at "+clock(*h.NextAt)+", "+until(*h.NextAt))
	}
	fact("Message-ID", messageID(h.Events))
	b.WriteString("\n" + clock(h.FirstSeen) + "  first claim by a worker\n")
	for _, e := range h.Events {
		b.WriteString(step(e, h.FirstSeen, width))
	}
	return b.String()
}

// about names a mail: its kind, recipient, user and booking.
func about(m ledger.Mail) string {
	text := line(m.Kind) + " mail"
	to := recipient(m)
	if to != "" {
		text += " to " + line(to)
	}
	var ids []string
	if m.UserID != nil {
		if user := fmt.Sprintf("user %d", *m.UserID); to != user {
			ids = append(ids, user)
		}
	}
	if m.Booking != "" {
		ids = append(ids, "booking or event "+line(m.Booking))
	}
	if len(ids) > 0 {
		text += " (" + strings.Join(ids, ", ") + ")"
	}
	return text
}

// until tells how far a time is from now.
func until(t time.Time) string {
	if d := time.Until(t); d > 0 {
		return "in " + spell(d)
	}
	return spell(time.Since(t)) + " ago"
}

// step returns one event of a timeline.
func step(e ledger.Record, first time.Time, width int) string {
	const indent = "              "
	head := fmt.Sprintf("%12s  %s", "+"+spell(e.At.Sub(first)), e.State)
	if e.Attempt > 0 {
		head += fmt.Sprintf(", attempt %d", e.Attempt)
	}
	if e.Reason != "" {
		head += ": " + line(e.Reason)
	}
	var b strings.Builder
	add := func(text string) { b.WriteString(fold(text, width, indent) + "\n") }
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
		add(indent + "next attempt " + clock(*e.NextAt))
	}
	return b.String()
}

// server tells where an event happened.
func server(e ledger.Record) string {
	var parts []string
	if e.Endpoint != "" {
		parts = append(parts, "relay "+line(e.Endpoint))
	}
	if e.TLS != "" {
		parts = append(parts, line(e.TLS))
	}
	if e.QueueID != "" {
		parts = append(parts, "queue id "+line(e.QueueID))
	}
	if e.Worker != "" {
		parts = append(parts, "worker "+line(e.Worker))
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
		text += "“" + line(e.Text) + "”"
	}
	return text
}

// phases returns the durations of the steps of an attempt.
func phases(all []ledger.Phase) string {
	var parts []string
	for _, p := range all {
		parts = append(parts, line(p.Name)+" "+spell(p.Took))
	}
	return strings.Join(parts, ", ")
}

// messageID returns the latest Message-ID of the events.
func messageID(events []ledger.Record) string {
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].MessageID != "" {
			return line(events[i].MessageID)
		}
	}
	return ""
}
