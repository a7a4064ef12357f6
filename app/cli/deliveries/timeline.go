package deliveries

import (
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/verdict"
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
	fact("Mail", verdict.About(h.Mail))
	fact("Task", term.Line(h.TaskID))
	fact("State", fmt.Sprintf("%s since %s, %s after the first claim", h.State, term.Clock(h.StateAt), term.Spell(h.StateAt.Sub(h.FirstSeen))))
	if h.NextAt != nil {
		fact("Next", "attempt at "+term.Clock(*h.NextAt)+", "+term.Until(*h.NextAt))
	}
	fact("Message-ID", verdict.MessageID(h.Events))
	b.WriteString("\n" + term.Clock(h.FirstSeen) + "  first claim by a worker\n")
	for _, e := range h.Events {
		b.WriteString(step(e, h.FirstSeen, width))
	}
	return b.String()
}

// step returns one event of a timeline.
func step(e ledger.Record, first time.Time, width int) string {
	const indent = "              "
	head := fmt.Sprintf("%12s  %s", "+"+term.Spell(e.At.Sub(first)), verdict.Head(e))
	var b strings.Builder
	add := func(text string) { b.WriteString(term.Fold(text, width, indent) + "\n") }
	add(head)
	if server := verdict.Server(e); server != "" {
		add(indent + server)
	}
	if said := verdict.Said(e); said != "" {
		add(indent + said)
	}
	if phases := verdict.Phases(e.Phases); phases != "" {
		add(indent + phases)
	}
	if e.NextAt != nil {
		add(indent + "next attempt " + term.Clock(*e.NextAt))
	}
	return b.String()
}
