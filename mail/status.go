package mail

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/evently/workers/mail/internal/verdict"
)

// Status is what a [Sender] knows of its server from the mails that it has sent.
type Status struct {
	Accepted time.Time  // when the server last took a mail; zero: never
	Fault    *SendError // what is wrong with the server, or with us in its eyes; nil: nothing that we know of
	Since    time.Time  // the first mail in a row that failed by a fault
	Tried    time.Time  // the last one that the server was asked to take
}

// Status returns what is known now, without asking the server.
func (s *Sender) Status() Status { return s.status.get() }

// Summary says in a few words where the mail failed, and with which codes: none
// of the server's own words, nothing of the mail.
func (e *SendError) Summary() string {
	at := e.Command
	if at == "." {
		at = "end of data"
	}
	switch c := e.EnhancedCode; {
	case e.Code == 0:
		return e.withoutReply() + " at " + at
	case c == [3]int{}:
		return fmt.Sprintf("%d at %s", e.Code, at)
	default:
		return fmt.Sprintf("%d %d.%d.%d at %s", e.Code, c[0], c[1], c[2], at)
	}
}

// withoutReply names a failure without a reply code. A server that answered
// something else did answer.
func (e *SendError) withoutReply() string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](e.Err); ok {
		return "certificate not trusted"
	}
	if setup, ok := errors.AsType[setupError](e.Err); ok {
		return setup.fault
	}
	switch {
	case errors.Is(e.Err, errReply):
		return "answer that is not SMTP"
	case errors.Is(e.Err, errReplySize):
		return "answer too long"
	case errors.Is(e.Err, errUnsolicited):
		return "answer before the question"
	}
	return "no answer"
}

// Explain adds to [SendError.Summary] what a person needs to act: the words of
// the server, cleaned as in Text, or what is to be changed here.
func (e *SendError) Explain() string {
	text := e.Summary()
	setup, isSetup := errors.AsType[setupError](e.Err)
	switch {
	case e.Text != "":
		text += ": " + e.Text
	case isSetup:
		text += ": " + setup.hint
	case e.Err != nil:
		text += ": " + oneLine(e.Err.Error())
	}
	if e.Recipients >= verdict.SameRefusals && e.subject() != e.judged {
		text += fmt.Sprintf(" (the same for %d recipients in a row)", e.Recipients)
	}
	return text
}

// statusKeeper keeps a Status for many goroutines.
type statusKeeper struct {
	mu     sync.Mutex
	status Status
}

func (k *statusKeeper) get() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// note takes the outcome of one mail; nil is its acceptance. What a mail was
// refused for by itself says that the server works.
func (k *statusKeeper) note(failed *SendError, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case failed == nil:
		k.status = Status{Accepted: now}
	case failed.untried:
	case failed.CountsForBreaker():
		if k.status.Fault == nil {
			k.status.Since = now
		}
		k.status.Fault, k.status.Tried = failed, now
	case failed.refused() && !failed.beforeMail() && !k.refusesUs():
		k.status = Status{Accepted: k.status.Accepted}
	}
}

// refusesUs reports whether the last fault was a refusal of us. Only a mail that
// is taken says that it is over: another refusal may have come first.
func (k *statusKeeper) refusesUs() bool {
	return k.status.Fault != nil && k.status.Fault.refused() && (k.status.Fault.ConfigurationFault() || k.status.Fault.Quota())
}
