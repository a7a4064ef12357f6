package mail

import (
	"context"
	"errors"
	"time"

	"github.com/evently/workers/mail/internal/redact"
	"github.com/evently/workers/mail/internal/ways"
)

// deliver sends c over an idle connection or a new one. Servers close idle connections at any
// time, with or without a last reply, which looks like the reply to the next command. So a
// failure of that command proves nothing, and the mail gets one new connection. It never gets
// two, because that would flood a server that always hangs up there. The exception is a server
// that cannot do what it offers.
func (s *Sender) deliver(ctx context.Context, c Composed, hide redact.Secrets) (Receipt, *SendError) {
	start := time.Now()
	if old := s.takeLive(hide); old != nil {
		receipt, failed := old.send(ctx, c, hide, start)
		again := failed != nil && ctx.Err() == nil && (failed.misled != ways.Stepwise || old.isStale(failed))
		old.broken = old.broken || again
		if !again {
			s.learn(old, failed)
		}
		s.release(old, failed)
		if !again {
			return receipt, failed
		}
		s.log.Debug("idle connection closed by the server", "error", failed)
	}
	receipt, failed := s.deliverAnew(ctx, c, hide, start, false)
	if failed == nil || failed.misled == ways.Stepwise || ctx.Err() != nil {
		return receipt, failed
	}
	// Nothing of the mail was sent, so this cannot send it twice.
	misled, first := failed.misled, failed
	receipt, failed = s.deliverAnew(ctx, c, hide, start, true)
	if failed == nil || failed.refused() && !failed.beforeMail() && (failed.Command != first.Command || failed.Code != first.Code) {
		s.refute(misled)
	}
	return receipt, failed
}

// deliverAnew sends c over a new connection.
func (s *Sender) deliverAnew(ctx context.Context, c Composed, hide redact.Secrets, start time.Time, stepwise bool) (Receipt, *SendError) {
	fresh, failed := s.open(ctx, hide)
	if failed != nil {
		failed.Times = Times{Connect: time.Since(start)}
		return Receipt{}, failed
	}
	fresh.stepwise = stepwise
	receipt, failed := fresh.send(ctx, c, hide, start)
	s.learn(fresh, failed)
	s.release(fresh, failed)
	return receipt, failed
}

// learn records what the outcome of a mail on c tells about the way in which it was sent.
func (s *Sender) learn(c *session, failed *SendError) {
	switch {
	case failed == nil && c.doubted != c.way:
		s.refute(c.doubted)
	case failed == nil:
		s.ways.Worked(c.way)
	case c.sent > 1, failed.Code != 0, errors.Is(failed.Err, context.Canceled):
	case failed.Command == "DATA" && c.way == ways.Chunked:
		s.ways.Silent(ways.Chunked)
	case failed.Command == "MAIL", failed.Command == "RCPT", failed.Command == "DATA":
		s.ways.Silent(min(c.way, ways.Pipelined))
	}
}

// refute records that the server cannot do what it offers.
func (s *Sender) refute(way ways.Way) {
	if s.ways.Refute(way, time.Now()) {
		s.log.Warn("server cannot do an extension that it offers, not used for an hour", "extension", way.String(), "relay", s.addr)
	}
}

// noop asks the server for an answer on a new connection. The next mail treats the connection
// as one that has carried a mail.
func (c *session) noop(ctx context.Context, hide redact.Secrets) *SendError {
	stop := context.AfterFunc(ctx, c.abort)
	c.sent++
	r, err := c.ask(c.cfg.Timeouts.Command, "NOOP\r\n")
	if err == nil && !r.positive() {
		err = r.err()
	}
	if !stop() || err != nil {
		c.broken = true
	}
	if err != nil {
		return withContextCause(ctx, sendError("NOOP", err, hide))
	}
	return nil
}

// takeLive returns an idle connection on which nothing was received since its last mail, or
// nil. It closes the other connections that it finds.
func (s *Sender) takeLive(hide redact.Secrets) *session {
	for {
		c, expired := s.takeIdle()
		quitAll(expired) // before dialling, because MaxConns may be the limit of the server
		if c == nil {
			return nil
		}
		err := c.idleFault()
		if err == nil {
			return c
		}
		s.log.Debug("idle connection closed by the server", "error", sendError("MAIL", err, hide))
		c.abort()
	}
}

// idleFault returns an error if the server closed the idle connection, or if it sent an
// unsolicited reply, such as 421 or "451 4.4.2 Timeout waiting for data from client".
func (c *session) idleFault() error {
	if c.wire.pending() {
		return errUnsolicited
	}
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if isQuiet(c.raw) {
		return nil
	}
	// Octets arrived. Below TLS they may be session tickets instead of a reply.
	const enough = 20 * time.Millisecond
	if err := c.raw.SetReadDeadline(time.Now().Add(enough)); err != nil {
		return err
	}
	switch _, err := c.wire.in.Peek(1); {
	case err == nil:
		return errUnsolicited
	case isTimeout(err):
		return nil
	default:
		return err
	}
}

// isStale reports whether the idle connection alone may have caused the failure of the first
// mail on it after the pause.
func (c *session) isStale(failed *SendError) bool {
	if failed.refused() && failed.Err != nil {
		return false // refused here, without a command to the server
	}
	switch failed.Command {
	case "RSET", "MAIL":
		return !c.answered || !failed.refused()
	case "RCPT", "DATA":
		// After a malformed reply, or the end of the connection, the reply to MAIL may
		// have been an older one. A timeout does not suggest that.
		return !failed.refused() && !isTimeout(failed.Err)
	}
	return false
}

// closes reports whether the server closes the connection with this reply.
func closes(failed *SendError) bool {
	return failed.Code == 421 || failed.EnhancedCode[1] == 4 && failed.EnhancedCode[2] == 2
}
