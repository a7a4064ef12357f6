package deliveries

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/store/ledger"
)

// patience is how long a step that takes moments may last before a person should look.
const patience = 2 * time.Minute

// judge decides whether a mail was sent, with a sentence that says so.
func judge(h ledger.History, now time.Time) (verdict, string) {
	m := h.Mail
	mail := "the " + about(m)
	last := lastOf(h.Events, m.State)
	switch m.State {
	case ledger.Accepted:
		return sentYes, fmt.Sprintf("Yes. %s accepted %s at %s%s.", relay(last), mail, term.Clock(acceptedAt(m)), queueID(last))
	case ledger.Complained:
		accepted := lastOf(h.Events, ledger.Accepted)
		return sentYes, fmt.Sprintf("Yes. %s accepted %s at %s%s, and the recipient reported it as unwanted at %s.",
			relay(accepted), mail, term.Clock(acceptedAt(m)), queueID(accepted), term.Clock(m.StateAt))
	case ledger.Bounced:
		if m.AcceptedAt == nil { // the bounce was read first
			return sentNo, fmt.Sprintf("No. At %s %s came back%s.", term.Clock(m.StateAt), mail, because(m, last))
		}
		accepted := lastOf(h.Events, ledger.Accepted)
		return sentNo, fmt.Sprintf("No. %s accepted %s at %s%s, but it came back at %s%s.",
			relay(accepted), mail, term.Clock(acceptedAt(m)), queueID(accepted), term.Clock(m.StateAt), because(m, last))
	case ledger.Deferred:
		return sentNotYet, fmt.Sprintf("Not yet. Attempt %d to send %s failed at %s%s. %s", max(m.Attempts, 1), mail, term.Clock(m.StateAt), because(m, last), next(m, now))
	case ledger.Queued:
		return sentNotYet, fmt.Sprintf("Not yet. Since %s %s waits%s. %s", term.Clock(m.StateAt), mail, because(m, last), next(m, now))
	case ledger.Sending:
		return sentUnknown, sendingText(m, mail, now)
	case ledger.Unknown:
		return sentUnknown, unknownText(m, mail, last, now)
	case ledger.Suppressed:
		return sentNo, fmt.Sprintf("No. At %s %s was not sent, because the address is suppressed%s.", term.Clock(m.StateAt), mail, because(m, last))
	case ledger.Expired:
		return sentNo, fmt.Sprintf("No. At %s %s was too late to be of use%s.", term.Clock(m.StateAt), mail, because(m, last))
	case ledger.Rejected:
		return sentNo, fmt.Sprintf("No. At %s %s was refused for good%s.", term.Clock(m.StateAt), mail, because(m, last))
	case ledger.Dead:
		return sentNo, fmt.Sprintf("No. At %s %s was given up and became a dead letter%s.", term.Clock(m.StateAt), mail, because(m, last))
	}
	return sentUnknown, fmt.Sprintf("Not known: this program does not know the state %s of %s; update it.", m.State, mail)
}

func sendingText(m ledger.Mail, mail string, now time.Time) string {
	if now.Sub(m.StateAt) < patience {
		return fmt.Sprintf("Not known yet. At %s a worker began to send the end of %s. Ask again in a moment.", term.Clock(m.StateAt), mail)
	}
	return fmt.Sprintf("Not known. At %s a worker began to send the end of %s, and no outcome followed. "+
		"The worker may have died: another one takes the task over, and decides.", term.Clock(m.StateAt), mail)
}

func unknownText(m ledger.Mail, mail string, last ledger.Record, now time.Time) string {
	text := fmt.Sprintf("Not known. %s got all of %s, but its answer at %s was lost: the mail may have been delivered. ", relay(last), mail, term.Clock(m.StateAt))
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
		return fmt.Sprintf("The next attempt was due at %s, %s: does a worker run? Ask with %s health.", term.Clock(*m.NextAt), term.Until(*m.NextAt), term.ProgramName)
	}
	return fmt.Sprintf("The next attempt is at %s, %s.", term.Clock(*m.NextAt), term.Until(*m.NextAt))
}

// because tells why a mail is in its state, as the end of a sentence.
func because(m ledger.Mail, last ledger.Record) string {
	var text string
	if code := reply(m.Code, m.Enhanced, m.Stage); code != "" {
		text = code
		if last.Endpoint != "" {
			text = term.Line(last.Endpoint) + " said " + text
		}
		if last.Text != "" {
			text += " “" + strings.TrimRight(term.Line(last.Text), ".") + "”"
		}
	}
	if text == "" || m.Reason != "" && m.Code == 0 {
		text = term.Line(cmp.Or(m.Reason, "no reason is known"))
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
	return "The mail server " + term.Line(e.Endpoint)
}

func queueID(e ledger.Record) string {
	if e.QueueID == "" {
		return ""
	}
	return ", with the queue id " + term.Line(e.QueueID)
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
