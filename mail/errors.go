package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail/internal/redact"
	"github.com/evently/workers/mail/internal/verdict"
	"github.com/evently/workers/mail/internal/ways"
)

// SendError is the failure of one mail. It never contains the content of the message, a
// password or a whole recipient, because errors end in logs, results and pages.
//
// Its methods derive everything from the exported fields, so tests of callers can make their
// own values.
type SendError struct {
	// Command is the step that failed, named by RFC 5321 where possible: "COMPOSE"
	// (nothing was sent), "WAIT" (no connection was free in time), "DIAL", "TLS",
	// "GREETING", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BODY" (before the
	// end of data was sent), "." (after it), "RSET", or "NOOP" of [Sender.Ping].
	Command string

	// Relay is the host and the port of the server; "": no server was asked.
	Relay string

	// Code is the reply code of RFC 5321 section 4.2; 0: no reply was read. For a mail
	// that is refused here, because the server would refuse it (a message above its SIZE,
	// an address that needs SMTPUTF8), it is the code that the server would send.
	Code int

	// EnhancedCode is the status code of RFC 3463, zero if the reply had none.
	EnhancedCode [3]int

	// Text is the text of the reply: one line of at most 300 characters, with addresses
	// masked and without repeated parts of the message.
	Text string

	// RetryAfter is the delay that the text of the reply asks for, at most an hour; 0:
	// none.
	RetryAfter time.Duration

	// Greylisted is true if the reply is greylisting: the server defers mails of unknown
	// senders and accepts most of them after five minutes.
	Greylisted bool

	// Recipients is the number of different recipients that the server refused in the
	// same words since it last accepted a mail, including this one. It counts up to five;
	// 0: not counted.
	Recipients int

	// Replaceable is true for a refused login whose password may be replaced at any time,
	// because Config.Credentials gives it.
	Replaceable bool

	// Err is the cause of a failure without a reply: an error of the network, of TLS or
	// of the context, or [ErrAddress].
	Err error

	TLS      string        // as in [Receipt]; "" also if the failure came before TLS
	Times    Times         // of the phases, including the one that failed
	Duration time.Duration // of the call of Send

	// Others are the failures at other relays within the same call of [Relays.Send], in
	// their order.
	Others []*SendError

	judged verdict.Verdict // of the whole reply, of which Text is a part

	misled ways.Way // what the server offers and may not be able to do; see [session.misled]

	untriedLogin bool // the server closed the connection before the second login mechanism
	untried      bool // a repeated refusal: the server was not asked for this mail
}

var (
	// errSetup marks faults that last until a person changes the configuration here or
	// at the server.
	errSetup = errors.New("configuration")

	errReply       = errors.New("not an SMTP reply")
	errReplySize   = errors.New("reply too long")
	errUnsolicited = errors.New("unsolicited reply")
)

// ErrWithheld is the error of a mail that [Message.BeforeFinal] withheld. The [SendError]
// wraps the error of that function, too.
var ErrWithheld = errors.New("mail withheld before the end of data")

// setupError is a fault of the configuration, found without a reply code.
type setupError struct {
	fault string // in a few words, which producers see
	hint  string // the change to make, which operators see
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

// Retryable reports whether sending again is useful and safe. A 5yz reply is final (RFC 5321
// section 4.2.1) if it refuses the recipient or the message. One that does not say what it
// refuses is retryable, because it may concern other mails as well. An [SendError.Unknown]
// outcome is never retryable: the caller must decide whether a second copy is worse than none.
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

// Unknown reports whether the mail may have been delivered: the end of data was sent, and no
// valid reply came back. RFC 1047 describes this case.
func (e *SendError) Unknown() bool { return e.Command == "." && !e.refused() }

// AddressFault reports whether the address of the recipient is the cause: it is no address, or
// the server says that the mailbox or the domain does not exist. Policy, reputation and a full
// mailbox are no faults of the address.
func (e *SendError) AddressFault() bool {
	return errors.Is(e.Err, ErrAddress) || e.Code >= 500 && e.subject() == verdict.Address
}

// ConfigurationFault reports whether the server refuses this sender instead of this mail: a
// wrong password, a sender address or relaying that it does not allow, a host name or IP
// address that it rejects, an untrusted certificate, or the same refusal for several
// recipients in a row. All mails fail until a person or a new secret corrects it, so the error
// must not count as an attempt.
func (e *SendError) ConfigurationFault() bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](e.Err); ok || errors.Is(e.Err, errSetup) {
		return true
	}
	return e.subject() == verdict.Account
}

// Quota reports whether the account has used up its quota for now. Some servers send a 5yz
// reply that ends the next day:
// https://support.google.com/a/answer/3726730.
func (e *SendError) Quota() bool { return e.subject() == verdict.Quota }

// Throttled reports whether the server defers all mails for a while: too many logins or
// connections, an exceeded rate, a backend that is down. Like a fault of the configuration it
// must not count as an attempt, but it ends without intervention.
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

// CountsForBreaker reports whether the error concerns the health of the server, so that a
// circuit breaker must count it. A refused mail, permanently or temporarily, proves that the
// server works.
func (e *SendError) CountsForBreaker() bool {
	switch {
	case e.Command == "COMPOSE", e.Command == "WAIT", errors.Is(e.Err, context.Canceled), errors.Is(e.Err, ErrWithheld):
		return false
	case !e.refused(), e.Code == 421, e.beforeMail(), e.ConfigurationFault(), e.Quota(), e.Throttled():
		return true
	}
	return false
}

// Unreached reports whether the server gave no sign of life: no connection came about, or one that
// ended or stayed silent before a greeting.
func (e *SendError) Unreached() bool {
	switch {
	case e.Code != 0:
		return false
	case e.Command == "DIAL":
		return true
	case e.Command != "GREETING":
		return false
	}
	return errors.Is(e.Err, io.ErrUnexpectedEOF) || errors.Is(e.Err, syscall.ECONNRESET) ||
		errors.Is(e.Err, os.ErrDeadlineExceeded) || errors.Is(e.Err, context.DeadlineExceeded)
}

// BlamesMail reports whether the words of a [SendError.ConfigurationFault] blame the recipient or
// the mail, so that only the number of Recipients suggests another cause. Such a refusal must
// not keep other mails from the server: anyone can sign up with addresses that do not exist.
func (e *SendError) BlamesMail() bool {
	words := *e
	words.Recipients = 0
	return e.Code >= 500 && e.ConfigurationFault() && !words.Retryable()
}

// refused reports whether there is a negative reply. Another code than 4yz and 5yz comes from a
// server that is out of step, and is no reply to this command.
func (e *SendError) refused() bool { return e.Code >= 400 && e.Code <= 599 }

// beforeMail reports whether the failure came before the first command about the mail.
func (e *SendError) beforeMail() bool {
	switch e.Command {
	case "WAIT", "DIAL", "TLS", "GREETING", "EHLO", "STARTTLS", "AUTH", "RSET", "NOOP":
		return true
	}
	return false
}

// sendError returns the failure of one command. hide holds the secrets to remove from the
// server's words.
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
	if code/100 == 4 { // before cleaning, which may remove a number that is also in the mail
		e.RetryAfter, e.Greylisted = verdict.Delay(text)
	}
	// Parts of the message that the server quotes must not influence the verdict.
	e.judged = verdict.Judge(e.Command, code, e.EnhancedCode, redact.Secrets{Quoted: hide.Quoted}.Text(flatten(text)))
	e.Text = cleanReply(text, hide)
}
