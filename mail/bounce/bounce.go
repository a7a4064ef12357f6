// Package bounce reads the mails that come back to the envelope sender of a mail: bounces,
// delays, receipts, complaints and automatic replies. It reads delivery status notifications
// (RFC 3464, RFC 6533), abuse reports (RFC 5965) and the text forms of servers that send
// neither. It does no I/O but reading the message, and it trusts no part of it: size, depth,
// parts, lines and recipients are limited.
//
// A message proves nothing about who sent it. Callers must match a bounce with a mail by a
// signed tag, an envelope id or a message id before they act on it.
package bounce

import (
	"cmp"
	"fmt"
	"io"

	"github.com/evently/workers/mail/internal/verdict"
)

// Kind is the meaning of a message for the mail that it answers.
type Kind string

// The kinds of messages.
const (
	Failed    Kind = "failed"    // the mail was not delivered to at least one recipient, for good
	Delayed   Kind = "delayed"   // the mail is late; the server goes on trying
	Delivered Kind = "delivered" // the mail was delivered, relayed or expanded
	Complaint Kind = "complaint" // a recipient reported the mail as unwanted
	AutoReply Kind = "autoreply" // a program answered: vacation, challenge, read receipt
	Unrelated Kind = "unrelated" // none of these
)

// Action is the field of this name in RFC 3464 section 2.3.3.
type Action string

// The actions of RFC 3464.
const (
	ActionFailed    Action = "failed"
	ActionDelayed   Action = "delayed"
	ActionDelivered Action = "delivered"
	ActionRelayed   Action = "relayed"
	ActionExpanded  Action = "expanded"
)

// Class is the cause of a failure. It decides whether the address may be suppressed.
type Class = verdict.Class

// The classes of failures.
const (
	BadAddress  = verdict.BadAddress  // the mailbox does not exist or is closed
	BadDomain   = verdict.BadDomain   // the domain does not exist or takes no mail
	MailboxFull = verdict.MailboxFull // the mailbox is over its quota
	TooBig      = verdict.TooBig      // the mail is too large for the server or the mailbox
	Content     = verdict.Content     // the content or the format of the mail: spam, virus, broken MIME
	Policy      = verdict.Policy      // a rule of the server or of the recipient
	Reputation  = verdict.Reputation  // the reputation of the sending host or domain
	Auth        = verdict.Auth        // SPF, DKIM, DMARC, TLS or a login that is missing
	Sender      = verdict.Sender      // the sender address
	Protocol    = verdict.Protocol    // a fault of the protocol
	Transient   = verdict.Transient   // the server or the network, for a while
	Unknown     = verdict.Unknown     // the message does not say

	ComplaintClass = verdict.Complaint // a recipient reported the mail
)

// Message is the content of one message, as far as it concerns the mails that were sent.
type Message struct {
	Kind       Kind
	Recipients []Recipient // in the order of the message; at most 100

	// Form is the form in which the message was recognized: "rfc3464", "arf", or a text
	// form such as "qmail". It is for people and statistics.
	Form string

	EnvelopeID   string // Original-Envelope-Id, decoded from xtext; the ENVID of RFC 3461
	ReportingMTA string // the host that reports

	// MessageID is the Message-ID of the mail that came back, without angle brackets. It is
	// "" if the message does not return the header of the mail.
	MessageID string

	// ReturnPath is the envelope sender in the header of the mail that came back, if it has
	// one. A server of a forwarder sends it when it changed the envelope sender.
	ReturnPath string

	// FeedbackType is the Feedback-Type of RFC 5965 section 3.1 in lower case, such as
	// "abuse"; "": the message is no abuse report.
	FeedbackType string
}

// Recipient is one recipient that the message reports on.
type Recipient struct {
	// Address is the recipient in the words of the server that reports. It may differ from
	// the address of the mail, if a server on the way forwarded the mail.
	Address string

	// Original is the recipient that the sender gave, if the message tells.
	Original string

	Action     Action // "" only for a complaint
	Status     string // enhanced code of RFC 3463, such as "5.1.1"; "": none
	Code       int    // reply code of RFC 5321, such as 550; 0: none
	Class      Class  // "" if the mail did not fail
	Diagnostic string // one line of at most 300 characters, with masked addresses
	RemoteMTA  string // the host that refused the mail, if the message tells
}

// Sent returns the address to which the mail was sent: Original, or Address if the message does
// not tell it.
func (r Recipient) Sent() string { return cmp.Or(r.Original, r.Address) }

// Limits of what Parse reads. The rest of a larger message is ignored, because a report comes
// before the mail that it returns.
const (
	MaxSize       = 1 << 20 // octets of the message
	MaxRecipients = 100

	maxDepth      = 8   // of parts in parts
	maxParts      = 64  // of all depths
	maxFields     = 400 // of one header
	maxDiagnostic = 300 // characters
)

// Parse reads one message. A message that is broken or is no bounce is no error: its kind is
// [Unrelated]. The only errors are those of r. Parse takes time in proportion to the size of
// the message.
func Parse(r io.Reader) (Message, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxSize))
	if err != nil {
		return Message{}, fmt.Errorf("read a message: %w", err)
	}
	return read(newMail(raw)), nil
}

// readInner reads the report in a mail that the mail system of a gateway wraps around it.
func readInner(m *mail, s sender) (Message, bool) {
	p := m.find("message/rfc822")
	if p == nil || !s.program && !(s.daemon && (s.null || s.failure)) {
		return Message{}, false
	}
	inner := newMail([]byte(p.body))
	from := readSender(inner.header)
	if _, ok := harmless(inner, from); ok {
		return Message{}, false
	}
	if msg, ok := readReport(inner, from); ok {
		return msg, true
	}
	return readText(inner, from)
}

// read decides the kind of a mail. Harmless mails come first: a vacation reply may quote a
// bounce.
func read(m *mail) Message {
	from := readSender(m.header)
	if msg, ok := harmless(m, from); ok {
		return msg
	}
	if msg, ok := readFeedback(m); ok {
		return msg
	}
	if msg, ok := readReport(m, from); ok {
		return msg
	}
	if msg, ok := readText(m, from); ok {
		return msg
	}
	if msg, ok := readInner(m, from); ok {
		return msg
	}
	return Message{Kind: Unrelated}
}
