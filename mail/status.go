package mail

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/evently/workers/mail/internal/verdict"
)

// Status describes the server by the outcomes of the mails that a [Sender] sent.
type Status struct {
	Accepted time.Time  // when the server last accepted a mail; zero: never
	Fault    *SendError // the last fault of the server or the configuration; nil: none is known
	Since    time.Time  // when the first mail of this row of faults failed
	Tried    time.Time  // when the last mail of the row failed
}

// Status returns the current status without asking the server.
func (s *Sender) Status() Status { return s.status.get() }

// Summary returns the step that failed and the codes, without words of the server and without
// parts of the mail.
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

// withoutReply returns the words for a failure without a reply code. They distinguish a
// malformed reply from no reply.
func (e *SendError) withoutReply() string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](e.Err); ok {
		return "certificate not trusted"
	}
	if setup, ok := errors.AsType[setupError](e.Err); ok {
		return setup.fault
	}
	switch {
	case errors.Is(e.Err, errReply):
		return "not an SMTP answer"
	case errors.Is(e.Err, errReplySize):
		return "answer too long"
	case errors.Is(e.Err, errUnsolicited):
		return "unsolicited answer"
	}
	return "no answer"
}

// Explain returns [SendError.Summary] and the information that an operator needs: the words of
// the server, cleaned as in Text, or the change to make here.
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

// statusKeeper holds a Status. Its methods may be called by several goroutines.
type statusKeeper struct {
	mu     sync.Mutex
	status Status
}

func (k *statusKeeper) get() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// note records the outcome of one mail; nil means that it was accepted. A refusal that concerns
// only the mail proves that the server works.
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

// pinged records the outcome of [Sender.Ping]. Success ends the faults that a mail would meet
// before its first command.
func (k *statusKeeper) pinged(failed *SendError, now time.Time) {
	if failed != nil {
		k.note(failed, now)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.status.Fault != nil && k.status.Fault.beforeMail() {
		k.status = Status{Accepted: k.status.Accepted}
	}
}

// refusesUs reports whether the last fault was a refusal of this sender. Only an accepted mail
// ends it, because the server may check other things first.
func (k *statusKeeper) refusesUs() bool {
	return k.status.Fault != nil && k.status.Fault.refused() && (k.status.Fault.ConfigurationFault() || k.status.Fault.Quota())
}
