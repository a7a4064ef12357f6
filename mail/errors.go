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

	// Err is the cause when it was no reply: of the network, of TLS, of the
	// context, [ErrAddress].
	Err error

	untried bool // the server was not asked: it has just refused the same to another
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
type setupError string

func (e setupError) Error() string        { return string(e) }
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
// the message: before that it refuses us. What is unknown is never retryable;
// whether a second copy is worse than none is for the caller to decide.
func (e *SendError) Retryable() bool {
	switch {
	case e.Command == "COMPOSE", e.Unknown():
		return false
	case !e.refused(), e.ConfigurationFault(), e.Quota():
		return true
	case e.beforeMail():
		return true
	}
	return e.Code < 500
}

// Unknown reports whether the mail may have been delivered: the end of data was
// sent, and no reply that makes sense came back. RFC 1047 is about this moment.
func (e *SendError) Unknown() bool { return e.Command == "." && !e.refused() }

// AddressFault reports whether the recipient's address is at fault, not the
// message and not the sender: it is no address, or the server says that there
// is no such mailbox or domain. Policy and reputation (5.7.z) and a full
// mailbox (5.2.2) are no faults of the address.
func (e *SendError) AddressFault() bool {
	if errors.Is(e.Err, ErrAddress) {
		return true
	}
	if e.Command != "RCPT" && e.Command != "DATA" && e.Command != "." || e.Code < 500 || e.ConfigurationFault() {
		return false
	}
	switch e.EnhancedCode {
	case [3]int{5, 1, 1}, [3]int{5, 1, 2}, [3]int{5, 1, 3}, [3]int{5, 1, 6}, [3]int{5, 1, 10}, [3]int{5, 2, 1}:
		return true
	case [3]int{}:
		return e.Command == "RCPT" && (e.Code == 550 || e.Code == 551 || e.Code == 553)
	}
	return false
}

// ConfigurationFault reports whether the server refuses us and not this mail: a
// wrong password, no permission to use the sender's address, a certificate that
// is not trusted. Every other mail would fail the same way until a person, or a
// fresh secret, mends it, so such an error must cost no mail its attempts.
func (e *SendError) ConfigurationFault() bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](e.Err); ok || errors.Is(e.Err, errSetup) {
		return true
	}
	if e.Code < 500 || e.Code > 599 || e.Quota() {
		return false
	}
	switch e.Code {
	case 530, 534, 535, 538: // RFC 4954 section 6
		return true
	}
	switch e.Command {
	case "EHLO", "STARTTLS", "AUTH":
		return true
	case "MAIL":
		return !e.messageFault()
	}
	return false
}

// Quota reports whether the account has sent all that it may, for today. Gmail
// says so with a 5yz reply that is over the next day:
// https://support.google.com/a/answer/3726730.
func (e *SendError) Quota() bool {
	return e.Code == 550 && e.EnhancedCode == [3]int{5, 4, 5}
}

// Throttled reports whether the server puts us off for a while, whatever the
// mail: too many logins, a service behind it that is down, a rate that is
// exceeded. Like a fault of the configuration it must cost no mail its attempts,
// but it is over by itself.
func (e *SendError) Throttled() bool {
	if e.Code < 400 || e.Code > 499 {
		return false
	}
	switch e.Command {
	case "EHLO", "STARTTLS", "AUTH":
		return true
	}
	return e.Code == 454 // RFC 3207, RFC 4954; Amazon SES also at the end of data
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

// messageFault reports whether a 5yz reply to MAIL is about this message: its
// size (RFC 1870) or its need of SMTPUTF8 (RFC 6531), which both are announced
// there. All else refuses the sender.
func (e *SendError) messageFault() bool {
	switch e.EnhancedCode {
	case [3]int{5, 2, 3}, [3]int{5, 3, 4}, [3]int{5, 6, 7}:
		return true
	}
	return e.Code == 552
}

// sendError types the failure of one command. hide holds what must not be seen
// in the server's words.
func sendError(command string, err error, hide ...hidden) *SendError {
	e := &SendError{Command: command}
	all := join(hide...)
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
		e.Err = err
	}
	return e
}

func (e *SendError) setReply(code int, enhanced [3]int, text string, hide hidden) {
	e.Code, e.EnhancedCode = code, enhanced
	if enhanced == [3]int{} {
		e.EnhancedCode, text = cutEnhanced(code, text)
	}
	if class := e.EnhancedCode[0]; class != code/100 {
		e.EnhancedCode = [3]int{} // RFC 2034 section 4: the classes must agree
	}
	if code/100 == 4 { // before cleaning, which may take a number for one of the mail's
		e.RetryAfter, e.Greylisted = waitIn(text)
	}
	e.Text = cleanReply(text, hide)
}
