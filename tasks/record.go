package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
)

// Steps of a mail before the dialogue with a mail server, as the history names them.
const (
	stepArguments = "arguments" // the data of the producer
	stepLookup    = "lookup"    // of the recipient
	stepRender    = "render"
	stepLimit     = "limit" // rates of mails
	stepCode      = "code"  // the question whether a code is of use
	stepSuppress  = "suppression"
)

// ending describes how a run ended, for the history of the mail.
type ending struct {
	state  ledger.State
	reason string        // as producers may see it
	stage  string        // "": that of e
	class  string        // "": that of e
	next   time.Duration // until the next run; 0: there is none

	e       *mail.SendError // failure of the delivery; nil without one
	receipt mail.Receipt
}

// history records what happens to mails.
type history struct {
	sealer *ledger.Sealer // nil: nothing is recorded
	worker string
	now    func() time.Time

	observer Observer                                           // nil: there is none
	tell     func(ctx context.Context, step string) func(error) // of steps; nil: none is told
}

// end adds the end of this run to the history. It is written together with the end of the
// task, so that the history is neither ahead of the truth nor behind it.
//
// A mail that an earlier run may have delivered stays unknown until it is accepted.
func (h *history) end(a *attempt, end ending) {
	if end.state != ledger.Accepted && a.isUnsure() {
		end.state = ledger.Unknown
	}
	h.observe(a, end)
	if h.sealer == nil {
		return
	}
	others := end.receipt.Others
	if end.e != nil {
		others = end.e.Others
	}
	for _, e := range others {
		h.otherRelay(a, e)
	}
	event := h.event(a, end.state)
	event.Reason, event.Stage, event.Class = end.reason, end.stage, end.class
	if end.next > 0 {
		event.NextAt = event.At.Add(end.next)
	}
	if end.e != nil {
		addFailure(&event, end.e)
		event.Fault = string(faultOfAddress(end.e))
	}
	if r := end.receipt; r.MessageID != "" {
		event.Stage, event.Text, event.MessageID, event.QueueID = ".", r.Reply, r.MessageID, r.QueueID
		event.Endpoint, event.TLS, event.Phases = r.Relay, r.TLS, phases(r.Times)
	}
	event.Phases = slices.Concat(a.steps, event.Phases)
	a.task.Record(ledger.StreamName, ledger.Encode(event, h.sealer)...)
}

// otherRelay adds the attempt at a relay that did not take the mail, so that another one was
// tried in the same run.
func (h *history) otherRelay(a *attempt, e *mail.SendError) {
	state := untaken(e)
	if a.isUnsure() {
		state = ledger.Unknown
	}
	event := h.event(a, state)
	event.Reason = "another relay was tried"
	addFailure(&event, e)
	a.task.Record(ledger.StreamName, ledger.Encode(event, h.sealer)...)
}

// untaken returns the state of a mail that a relay did not take for now. A mail whose first
// command was not answered was not tried.
func untaken(e *mail.SendError) ledger.State {
	if e == nil || !concernsMail(e) {
		return ledger.Queued
	}
	return ledger.Deferred
}

// addFailure adds what is known of a failed delivery.
func addFailure(event *ledger.Event, e *mail.SendError) {
	event.Stage, event.Code, event.Class = e.Command, e.Code, class(e)
	event.Text, event.Endpoint, event.TLS, event.Phases = e.Text, e.Relay, e.TLS, phases(e.Times)
	event.Enhanced = enhanced(e)
}

// sending returns the entry that is written with the mark.
func (h *history) sending(a *attempt) []broker.Entry { return h.entry(a, ledger.Sending, "") }

// unknown returns the entry for an earlier run that did not tell its outcome.
func (h *history) unknown(a *attempt) []broker.Entry { return h.entry(a, ledger.Unknown, errUnsure) }

func (h *history) entry(a *attempt, state ledger.State, reason string) []broker.Entry {
	if h.sealer == nil {
		return nil
	}
	event := h.event(a, state)
	event.Reason = reason
	return []broker.Entry{{Stream: ledger.StreamName, Fields: ledger.Encode(event, h.sealer)}}
}

// cutShort returns the entry of a mail whose mark is taken back, because a stop came before its
// end. before is the mark of an earlier run.
func (h *history) cutShort(a *attempt, before string) []broker.Entry {
	if before != "" {
		return h.entry(a, ledger.Unknown, errUnsure)
	}
	return h.entry(a, ledger.Queued, "worker stopped before the end of the mail")
}

// withdrawn adds the end of a mail whose message the engine settles without a run.
func (h *history) withdrawn(a *attempt, why worker.Withdrawal) {
	switch why {
	case worker.WithdrawnExpired:
		h.end(a, ending{state: ledger.Expired, reason: "message expired in its queue"})
	case worker.WithdrawnRevoked:
		h.end(a, ending{state: ledger.Rejected, reason: "revoked"})
	case worker.WithdrawnCrashed:
		a.endUnsure() // it may have been sent in one of the runs
		h.end(a, ending{state: ledger.Unknown, reason: "each run ended its worker"})
	}
}

// event returns the event of a state, with what is known of the mail.
func (h *history) event(a *attempt, state ledger.State) ledger.Event {
	event := ledger.Event{
		Mail: a.task.Fingerprint(), TaskID: a.task.ID, Kind: string(a.data.Kind()), State: state,
		At: h.now(), FirstSeen: a.seen, Attempt: a.task.Retries + 1,
		Booking: a.reference, Address: a.to,
		Worker: h.worker, Secrets: a.secrets,
	}
	event.UserID, _ = integer(a.userID)
	return event
}

// phases returns the durations of the phases that a delivery has reached.
func phases(t mail.Times) []ledger.Phase {
	all := []ledger.Phase{
		{Name: "wait", Took: t.Wait}, {Name: "connect", Took: t.Connect}, {Name: "mail", Took: t.Mail}, {Name: "rcpt", Took: t.Rcpt},
		{Name: "data", Took: t.Data}, {Name: "guard", Took: t.Guard}, {Name: "final", Took: t.Final},
	}
	return slices.DeleteFunc(all, func(p ledger.Phase) bool { return p.Took <= 0 })
}

// class returns the class of a failure, one word.
func class(e *mail.SendError) string {
	switch {
	case e.Command == "COMPOSE":
		return "compose"
	case e.Unknown():
		return "unknown"
	case e.ConfigurationFault():
		return "account"
	case e.Quota():
		return "quota"
	case e.Throttled(), e.Code == 421:
		return "rate"
	case e.AddressFault():
		return "address"
	case e.Greylisted:
		return "greylisted"
	case e.Code == 0:
		return "connection"
	case e.Code < 500:
		return "temporary"
	case e.Retryable():
		return "unclear"
	}
	return "refused"
}

// enhanced returns the enhanced code of a reply, "" for none.
func enhanced(e *mail.SendError) string {
	c := e.EnhancedCode
	if c == [3]int{} {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2])
}

// domain returns the domain of an address in lower case.
func domain(address string) string {
	if a, err := mail.ParseAddress(address); err == nil {
		return a.Domain
	}
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}
