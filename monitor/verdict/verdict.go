// Package verdict answers whether a mail was sent: in one sentence, with its evidence from the
// history of mails, the suppressions and Redis. Commands and pages give the same answer.
package verdict

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/store/ledger"
)

// patience is how long a step that takes moments may last before a person should look.
const patience = 2 * time.Minute

// Sent tells whether a mail was sent.
type Sent string

// The answers.
const (
	Yes     Sent = "yes"
	No      Sent = "no"
	NotYet  Sent = "not yet"
	Unknown Sent = "not known"
)

// Judge decides whether a mail was sent, with a sentence that says so.
func Judge(h ledger.History, now time.Time) (Sent, string) {
	m := h.Mail
	mail := "the " + About(m)
	last := lastOf(h.Events, m.State)
	switch m.State {
	case ledger.Accepted:
		accepted := firstOf(h.Events, ledger.Accepted)
		return Yes, fmt.Sprintf("Yes. %s accepted %s at %s%s.%s", relay(accepted), mail, words.Clock(acceptedAt(m)), queueID(accepted), again(h.Events))
	case ledger.Complained:
		accepted := firstOf(h.Events, ledger.Accepted)
		return Yes, fmt.Sprintf("Yes. %s accepted %s at %s%s, and the recipient reported it as unwanted at %s.",
			relay(accepted), mail, words.Clock(acceptedAt(m)), queueID(accepted), words.Clock(m.StateAt))
	case ledger.Bounced:
		if m.AcceptedAt == nil { // the bounce was read first
			return No, fmt.Sprintf("No. At %s %s came back%s.", words.Clock(m.StateAt), mail, because(m, last))
		}
		accepted := firstOf(h.Events, ledger.Accepted)
		return No, fmt.Sprintf("No. %s accepted %s at %s%s, but it came back at %s%s.",
			relay(accepted), mail, words.Clock(acceptedAt(m)), queueID(accepted), words.Clock(m.StateAt), because(m, last))
	case ledger.Deferred:
		return NotYet, fmt.Sprintf("Not yet. Attempt %d to send %s failed at %s%s. %s", max(m.Attempts, 1), mail, words.Clock(m.StateAt), because(m, last), next(m, now))
	case ledger.Queued:
		return NotYet, fmt.Sprintf("Not yet. Since %s %s waits%s. %s", words.Clock(m.StateAt), mail, because(m, last), next(m, now))
	case ledger.Sending:
		return Unknown, sendingText(m, mail, now)
	case ledger.Unknown:
		return Unknown, unknownText(m, mail, last, now)
	case ledger.Suppressed:
		return No, fmt.Sprintf("No. At %s %s was not sent, because the address is suppressed%s.", words.Clock(m.StateAt), mail, because(m, last))
	case ledger.Expired:
		return No, fmt.Sprintf("No. At %s %s was too late to be of use%s.", words.Clock(m.StateAt), mail, because(m, last))
	case ledger.Rejected:
		return No, fmt.Sprintf("No. At %s %s was refused for good%s.", words.Clock(m.StateAt), mail, because(m, last))
	case ledger.Dead:
		return No, fmt.Sprintf("No. At %s %s was given up and became a dead letter%s.", words.Clock(m.StateAt), mail, because(m, last))
	}
	return Unknown, fmt.Sprintf("Not known: this program does not know the state %s of %s; update it.", m.State, mail)
}

func sendingText(m ledger.Mail, mail string, now time.Time) string {
	if now.Sub(m.StateAt) < patience {
		return fmt.Sprintf("Not known yet. At %s a worker began to send the end of %s. Ask again in a moment.", words.Clock(m.StateAt), mail)
	}
	return fmt.Sprintf("Not known. At %s a worker began to send the end of %s, and no outcome followed. "+
		"The worker may have died: another one takes the task over, and decides.", words.Clock(m.StateAt), mail)
}

func unknownText(m ledger.Mail, mail string, last ledger.Record, now time.Time) string {
	text := fmt.Sprintf("Not known. %s got all of %s, but its answer at %s was lost: the mail may have been delivered. ", relay(last), mail, words.Clock(m.StateAt))
	if m.NextAt != nil {
		return text + "It is sent once more under the same Message-ID. " + next(m, now)
	}
	return text + "It is not sent again by itself. Look into the log of the mail server, and then retry or delete its dead letter."
}

// next tells when the next attempt is.
func next(m ledger.Mail, now time.Time) string {
	switch {
	case m.NextAt == nil:
		return "The next attempt begins when a worker takes the task."
	case now.Sub(*m.NextAt) > patience:
		return fmt.Sprintf("The next attempt was due at %s, %s: does a worker run? The command health tells.", words.Clock(*m.NextAt), words.Until(*m.NextAt))
	}
	return fmt.Sprintf("The next attempt is at %s, %s.", words.Clock(*m.NextAt), words.Until(*m.NextAt))
}

// because tells why a mail is in its state, as the end of a sentence.
func because(m ledger.Mail, last ledger.Record) string {
	var text string
	if code := Reply(m.Code, m.Enhanced, m.Stage); code != "" {
		text = code
		if last.Endpoint != "" {
			text = words.Line(last.Endpoint) + " said " + text
		}
		if last.Text != "" {
			text += " “" + strings.TrimRight(words.Line(last.Text), ".") + "”"
		}
	}
	if text == "" || m.Reason != "" && m.Code == 0 {
		text = words.Line(cmp.Or(m.Reason, "no reason is known"))
	}
	return ": " + strings.TrimRight(text, ".")
}

// acceptedAt returns when the server accepted a mail.
func acceptedAt(m ledger.Mail) time.Time {
	if m.AcceptedAt != nil {
		return *m.AcceptedAt
	}
	return m.StateAt
}

// relay names the server of an event at the beginning of a sentence.
func relay(e ledger.Record) string {
	if e.Endpoint == "" {
		return "The mail server"
	}
	return "The mail server " + words.Line(e.Endpoint)
}

func queueID(e ledger.Record) string {
	if e.QueueID == "" {
		return ""
	}
	return ", with the queue id " + words.Line(e.QueueID)
}

// again tells of further copies that a relay accepted, as when a task was published twice.
func again(events []ledger.Record) string {
	copies := 0
	for _, e := range events {
		if e.State == ledger.Accepted {
			copies++
		}
	}
	if copies < 2 {
		return ""
	}
	last := lastOf(events, ledger.Accepted)
	return fmt.Sprintf(" It was accepted %d times, last at %s%s.", copies, words.Clock(last.At), queueID(last))
}

// firstOf returns the first event that led to a state.
func firstOf(events []ledger.Record, s ledger.State) ledger.Record {
	for _, e := range events {
		if e.State == s {
			return e
		}
	}
	return ledger.Record{}
}

// lastOf returns the last event that led to a state.
func lastOf(events []ledger.Record, s ledger.State) (last ledger.Record) {
	for _, e := range events {
		if e.State == s {
			last = e
		}
	}
	return last
}
