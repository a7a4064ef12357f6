package suppressions

import (
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/web"
	store "github.com/evently/workers/store/ledger/suppressions"
)

// line makes foreign text fit for a page: printable, on one line, and bounded.
func line(text string) string { return words.Maybe(text) }

func sentence(text string) string { return words.Sentence(text) }

// classNames are the classes for people.
var classNames = map[store.Class]string{
	store.BadAddress: "bad address", store.BadDomain: "bad domain", store.MailboxFull: "mailbox full", store.Unknown: "refused without a reason",
	store.Complaint: "complaint", store.Operator: "by a person",
}

func className(c store.Class) string {
	if name, ok := classNames[c]; ok {
		return name
	}
	return line(string(c))
}

// who returns the address as it may be shown.
func who(s *store.Suppression) string {
	if s.To != "" {
		return line(s.To)
	}
	return "(not known)" // imported by its id, or erased
}

// stateNames are the states in the order of the list.
var stateNames = []struct {
	state store.State
	title string
	tone  web.Tone
}{{store.Active, "In force", web.Bad}, {store.Expired, "Expired", web.Calm}, {store.Released, "Released", web.Good}}

func chipOf(s store.State) web.Chip {
	for _, known := range stateNames {
		if known.state == s {
			return web.Chip{Text: strings.ToLower(known.title), Tone: known.tone}
		}
	}
	return web.Chip{Text: line(string(s)), Tone: web.Calm}
}

// scopeText tells which mails are withheld.
func scopeText(s store.Scope) string {
	if s == store.OptionalMails {
		return "optional mails only"
	}
	return "all mails"
}

// endText tells when a suppression ends, or ended.
func endText(s *store.Suppression) string {
	switch {
	case s.Ended != nil:
		return "ended " + words.Clock(*s.Ended)
	case s.Expires == nil:
		return "when released"
	}
	return words.Clock(*s.Expires) + ", " + words.Until(*s.Expires)
}

// whileText tells the same beside the state.
func whileText(s *store.Suppression) string {
	switch {
	case s.Ended != nil:
		return "on " + s.Ended.Local().Format(time.DateOnly)
	case s.Expires == nil:
		return "until released"
	}
	if s.Expires.Before(time.Now()) {
		return "ended " + words.Until(*s.Expires)
	}
	return "ends " + words.Until(*s.Expires)
}

// reply returns the reply of a server.
func reply(code int, enhanced, text string) string {
	var parts []string
	if code != 0 {
		parts = append(parts, fmt.Sprint(code))
	}
	for _, p := range []string{enhanced, text} {
		if p != "" {
			parts = append(parts, line(p))
		}
	}
	return strings.Join(parts, " ")
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
