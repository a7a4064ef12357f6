package mail

import (
	"context"
	"time"

	"github.com/evently/workers/mail/internal/redact"
)

// deliver sends c over an idle connection or a new one. Servers close idle connections at any
// time, with or without a last reply, which looks like the reply to the next command. So a
// failure of that command proves nothing, and the mail gets one new connection. It never gets
// two, because that would flood a server that always hangs up there.
func (s *Sender) deliver(ctx context.Context, c Composed, hide redact.Secrets) (Receipt, *SendError) {
	start := time.Now()
	if old := s.takeLive(hide); old != nil {
		receipt, failed := old.send(ctx, c, hide, start)
		again := failed != nil && ctx.Err() == nil && old.isStale(failed)
		old.broken = old.broken || again
		s.release(old, failed)
		if failed == nil {
			return receipt, nil
		}
		if !again {
			return Receipt{}, failed
		}
		s.log.Debug("idle connection closed by the server", "error", failed)
	}
	fresh, failed := s.open(ctx, hide)
	if failed != nil {
		failed.Times = Times{Connect: time.Since(start)}
		return Receipt{}, failed
	}
	receipt, failed := fresh.send(ctx, c, hide, start)
	s.release(fresh, failed)
	if failed != nil {
		return Receipt{}, failed
	}
	return receipt, nil
}

// noop asks the server for an answer on a new connection. The next mail treats the connection
// as one that has carried a mail.
func (c *session) noop(ctx context.Context, hide redact.Secrets) *SendError {
	stop := context.AfterFunc(ctx, c.abort)
	c.sent++
	err := c.step(c.cfg.Timeouts.Command, func() error { return positive(c.client.Noop()) })
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
