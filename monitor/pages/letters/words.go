package letters

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/broker"
)

// line makes foreign text fit for a page: printable, on one line, and bounded.
func line(text string) string { return words.Maybe(text) }

// sentence writes a text as a sentence.
func sentence(text string) string { return words.Sentence(text) }

// count writes a number of things.
func count(n int, thing string) string { return words.GroupedCount(int64(n), thing) }

// whose names the recipient and the booking as far as may be shown.
func whose(it *desk.Item) string {
	var parts []string
	if it.UserID != nil {
		parts = append(parts, fmt.Sprintf("user %d", *it.UserID))
	}
	if it.To != "" {
		parts = append(parts, line(it.To))
	}
	if it.Booking != "" {
		parts = append(parts, line(it.Booking))
	}
	return strings.Join(parts, ", ")
}

// kindOf names the mail, or the task that sends none.
func kindOf(it *desk.Item) string { return line(cmp.Or(it.Kind, it.Task(), "unreadable")) }

// chipOf returns the chip of a state.
func chipOf(s broker.LetterState) web.Chip {
	for _, known := range stateNames {
		if known.state == s {
			return web.Chip{Text: known.title, Tone: known.tone}
		}
	}
	return web.Chip{Text: line(s.String()), Tone: web.Calm}
}
