package verdict

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/store/ledger"
)

// KindText returns a kind of mails as a sentence has it.
func KindText(kind string) string { return strings.ReplaceAll(words.Line(kind), "_", " ") }

// About names a mail: its kind, recipient, user and booking.
func About(m ledger.Mail) string {
	text := KindText(m.Kind) + " mail"
	to := Recipient(m)
	if to != "" {
		text += " to " + words.Line(to)
	}
	var ids []string
	if m.UserID != nil {
		if user := fmt.Sprintf("user %d", *m.UserID); to != user {
			ids = append(ids, user)
		}
	}
	if m.Booking != "" {
		ids = append(ids, "booking or event "+words.Line(m.Booking))
	}
	if len(ids) > 0 {
		text += " (" + strings.Join(ids, ", ") + ")"
	}
	return text
}

// Recipient returns the address of a mail as it may be shown.
func Recipient(m ledger.Mail) string {
	switch {
	case m.Erased:
		return "(erased)"
	case m.Address != "":
		return m.Address
	case m.To != "":
		return m.To
	case m.UserID != nil:
		return fmt.Sprintf("user %d", *m.UserID)
	}
	return ""
}

// Why tells why a mail is in its state, "" if it was accepted.
func Why(m ledger.Mail) string {
	if m.State == ledger.Accepted {
		return ""
	}
	text := Reply(m.Code, m.Enhanced, m.Stage)
	switch {
	case m.Reason != "" && text != "" && !strings.Contains(m.Reason, strconv.Itoa(m.Code)):
		text = m.Reason + ": " + text
	case m.Reason != "":
		text = m.Reason
	}
	if text == "" {
		return ""
	}
	return words.Line(text)
}

// Reply writes a reply of a mail server, "" for none.
func Reply(code int, enhanced, stage string) string {
	if code == 0 {
		return ""
	}
	text := strings.TrimSpace(fmt.Sprintf("%d %s", code, enhanced))
	if stage != "" && stage != ledger.StageBounce {
		text += " at " + StageName(stage)
	}
	return text
}

// StageName returns the name of a step for people.
func StageName(stage string) string {
	if stage == "." {
		return "the end of the mail"
	}
	return stage
}

// Server tells where an event happened.
func Server(e ledger.Record) string {
	var parts []string
	if e.Endpoint != "" {
		kind := "relay"
		if e.Stage == ledger.StageBounce {
			kind = "server"
		}
		parts = append(parts, kind+" "+words.Line(e.Endpoint))
	}
	if e.TLS != "" {
		parts = append(parts, words.Line(e.TLS))
	}
	if e.QueueID != "" {
		parts = append(parts, "queue id "+words.Line(e.QueueID))
	}
	if e.Worker != "" {
		parts = append(parts, "worker "+words.Line(e.Worker))
	}
	return strings.Join(parts, ", ")
}

// Said returns the reply of a mail server with its words.
func Said(e ledger.Record) string {
	text := Reply(e.Code, e.Enhanced, e.Stage)
	if e.Text != "" {
		if text != "" {
			text += ": "
		}
		text += "“" + words.Line(e.Text) + "”"
	}
	return text
}

// Phases returns the durations of the steps of an attempt, without those of less than half a
// millisecond.
func Phases(all []ledger.Phase) string {
	var parts []string
	for _, p := range all {
		if p.Took < time.Millisecond/2 {
			continue
		}
		parts = append(parts, words.Line(p.Name)+" "+words.Spell(p.Took))
	}
	return strings.Join(parts, ", ")
}

// Head tells the state that an event led to, with the number of the attempt and the reason.
func Head(e ledger.Record) string {
	head := e.State.String()
	if e.Attempt > 0 {
		head += fmt.Sprintf(", attempt %d", e.Attempt)
	}
	if e.Reason != "" {
		head += ": " + words.Line(e.Reason)
	}
	return head
}

// MessageID returns the latest Message-ID of the events.
func MessageID(events []ledger.Record) string {
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].MessageID != "" {
			return words.Line(events[i].MessageID)
		}
	}
	return ""
}
