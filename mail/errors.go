package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail/internal/redact"
	"github.com/evently/workers/mail/internal/verdict"
)

// SendError is the failure of one mail. It never holds the content of the
// message, a password or a whole recipient: errors end in logs, results and
// pages.
//
// Its methods derive everything from the exported fields, so that callers can
// make values of their own in tests.
type SendError struct {
	// Command is where the mail failed, in the words of RFC 5321 as far as it
	// has any: "COMPOSE" (nothing was sent), "WAIT" (no connection was free in
	// time), "DIAL", "TLS", "GREETING", "EHLO", "STARTTLS", "AUTH", "MAIL",
	// "RCPT", "DATA", "BODY" (before the end of data was out) or "." (after).
	Command string

	// Code is the reply code, RFC 5321 section 4.2; 0: no reply was read. Where
	// this side refuses what the server would have to (a message above its
	// SIZE, an address that needs the SMTPUTF8 it lacks), it is the code that
	// stands for it.
	Code int

	// EnhancedCode is the status of RFC 3463, zero when the reply had none.
	EnhancedCode [3]int

	// Text is what the server said: one line of at most 300 characters,
	// addresses masked, and what it repeated of the message taken out.
	Text string

	// RetryAfter is how long the server asks to wait, as far as its words can be
	// read so; 0: it does not say. At most an hour.
	RetryAfter time.Duration

	// Greylisted: the server defers mails of strangers until they come again, by
	// its own words. It takes most of them after five minutes.
	Greylisted bool

	// Recipients is how many different recipients the server has refused in the
	// same words since it last took a mail, this one included. It stops at five;
	// 0: not counted.
	Recipients int

	// Err is the cause when it was no reply: of the network, of TLS, of the
	// context, [ErrAddress].
	Err error

	judged verdict.Verdict // of the whole reply, of which Text is a part

	untriedLogin bool // the server has closed before the other mechanism of login could be tried
	untried      bool // the server was not asked: it has just refused the same to another
}

var (
	// errSetup marks faults that stay until somebody changes the configuration
	// here or at the server.
	errSetup = errors.New("configuration")

	errReply       = errors.New("reply that is not SMTP")
	errReplySize   = errors.New("reply too long")
	errUnsolicited = errors.New("reply that nobody asked for")
)

// ErrWithheld says that [Message.BeforeFinal] kept the mail back. The error of that
// function is wrapped beside it.
var ErrWithheld = errors.New("mail withheld before the end of data")

// setupError is a fault of the configuration, found without a reply code.
type setupError struct {
	fault string // in a few words, for producers too
	hint  string // what to change, for the operator
}

func (e setupError) Error() string        { return e.fault + ": " + e.hint }
func (e setupError) Is(target error) bool { return target == errSetup }

func (e *SendError) Error() string {
	var b strings.Builder
	b.WriteString("smtp ")
	b.WriteString(e.Command)
	b.WriteByte(':')
	if e.Code != 0 {
		fmt.Fprintf(&b, " %d", e.Code)
	}
	if e.EnhancedCode != [3]int{} {
		fmt.Fprintf(&b, " %d.%d.%d", e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
	}
	if e.Text != "" {
		b.WriteString(" " + e.Text)
	}
	if e.Err != nil {
		b.WriteString(" " + oneLine(e.Err.Error()))
	}
	if e.Unknown() {
		b.WriteString(" (no reply to the end of data: the mail may have been delivered)")
	}
	return b.String()
}

func (e *SendError) Unwrap() error { return e.Err }

// Retryable reports whether sending again is both useful and safe. A 5yz reply
// is final (RFC 5321 section 4.2.1), but only where it refuses the recipient or
// the message; one that does not say what it refuses is tried again, since others
// may meet it as well. What is unknown is never retryable; whether a second copy
// is worse than none is for the caller to decide.
func (e *SendError) Retryable() bool {
	switch {
	case e.Command == "COMPOSE", e.Unknown():
		return false
	case !e.refused(), e.ConfigurationFault(), e.Quota(), e.Throttled():
		return true
	case e.beforeMail():
		return true
	}
	return e.Code < 500 || e.subject() == verdict.Unclear
}

// Unknown reports whether the mail may have been delivered: the end of data was
// sent, and no reply that makes sense came back. RFC 1047 is about this moment.
func (e *SendError) Unknown() bool { return e.Command == "." && !e.refused() }

// AddressFault reports whether the recipient's address is at fault, not the
// message and not the sender: it is no address, or the server says that there
// is no such mailbox or domain. Policy and reputation and a full mailbox are no
// faults of the address.
func (e *SendError) AddressFault() bool {
	return errors.Is(e.Err, ErrAddress) || e.Code >= 500 && e.subject() == verdict.Address
}

// ConfigurationFault reports whether the server refuses us and not this mail: a
// wrong password, no permission to use the sender's address or to relay, a host
// name or address that it does not like, a certificate that is not trusted, or
// the same refusal for one recipient after the other. Other mails would fail the
// same way until a person, or a fresh secret, mends it, so such an error must
// cost no mail its attempts.
func (e *SendError) ConfigurationFault() bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](e.Err); ok || errors.Is(e.Err, errSetup) {
		return true
	}
	return e.subject() == verdict.Account
}

// Quota reports whether the account has sent all that it may, for today. Some
// servers say so with a 5yz reply that is over the next day:
// https://support.google.com/a/answer/3726730.
func (e *SendError) Quota() bool { return e.subject() == verdict.Quota }

// Throttled reports whether the server puts us off for a while, whatever the
// mail: too many logins or connections, a rate that is exceeded, a service behind
// it that is down. Like a fault of the configuration it must cost no mail its
// attempts, but it is over by itself.
func (e *SendError) Throttled() bool { return e.subject() == verdict.Rate }

// subject returns the subject of the refusal. The count of recipients outweighs the words.
func (e *SendError) subject() verdict.Verdict {
	v := e.judged
	if v == verdict.None {
		v = verdict.Judge(e.Command, e.Code, e.EnhancedCode, e.Text)
	}
	switch {
	case e.Recipients < verdict.SameRefusals, v == verdict.None, v == verdict.Account, v == verdict.Quota, v == verdict.Rate:
		return v
	case e.Code < 500:
		return verdict.Rate
	}
	return verdict.Account
}

// CountsForBreaker reports whether the error says something about the server's
// health, so that a circuit breaker should count it. A mail that was refused,
// for good or for now, says that the server works.
func (e *SendError) CountsForBreaker() bool {
	switch {
	case e.Command == "COMPOSE", e.Command == "WAIT", errors.Is(e.Err, context.Canceled), errors.Is(e.Err, ErrWithheld):
		return false
	case !e.refused(), e.Code == 421, e.beforeMail(), e.ConfigurationFault(), e.Quota(), e.Throttled():
		return true
	}
	return false
}

// refused reports whether there is a negative reply. A code outside of 4yz and
// 5yz where it makes no sense is a server that lost its place: no answer.
func (e *SendError) refused() bool { return e.Code >= 400 && e.Code <= 599 }

// beforeMail reports whether the server had not been told of the mail yet.
func (e *SendError) beforeMail() bool {
	switch e.Command {
	case "WAIT", "DIAL", "TLS", "GREETING", "EHLO", "STARTTLS", "AUTH", "RSET":
		return true
	}
	return false
}

// sendError types the failure of one command. hide holds what must not be seen
// in the server's words.
func sendError(command string, err error, hide ...redact.Secrets) *SendError {
	e := &SendError{Command: command}
	all := redact.Join(hide...)
	if reply, ok := errors.AsType[*smtp.SMTPError](err); ok {
		e.setReply(reply.Code, reply.EnhancedCode, reply.Message, all)
		return e
	}
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		e.setReply(reply.Code, [3]int{}, reply.Msg, all)
		return e
	}
	switch _, malformed := errors.AsType[textproto.ProtocolError](err); {
	case malformed:
		e.Err = errReply // the original quotes the line
	case errors.Is(err, smtp.ErrTooLongLine):
		e.Err = errReplySize
	case errors.Is(err, io.EOF):
		e.Err = fmt.Errorf("connection closed by the server: %w", io.ErrUnexpectedEOF)
	default:
		e.Err = all.Error(err)
	}
	return e
}

func (e *SendError) setReply(code int, enhanced [3]int, text string, hide redact.Secrets) {
	e.Code, e.EnhancedCode = code, enhanced
	if enhanced == [3]int{} {
		e.EnhancedCode, text = cutEnhanced(code, text)
	}
	if class := e.EnhancedCode[0]; class != code/100 {
		e.EnhancedCode = [3]int{} // RFC 2034 section 4: the classes must agree
	}
	if code/100 == 4 { // before cleaning, which may take a number for one of the mail's
		e.RetryAfter, e.Greylisted = verdict.Delay(text)
	}
	// Parts of the message that the server quotes must steer nothing.
	e.judged = verdict.Judge(e.Command, code, e.EnhancedCode, redact.Secrets{Quoted: hide.Quoted}.Text(flatten(text)))
	e.Text = cleanReply(text, hide)
}
