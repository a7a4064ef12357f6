package mail

import (
	"context"
	"time"

	"github.com/evently/workers/mail/internal/redact"
)

// deliver sends c over an idle connection or a new one. Servers end idle
// connections as they like, with or without a last reply, and that reply may be
// taken for the answer to our first command. So a failure of that command proves
// nothing, and the mail gets one new connection; never two, or a server that
// always hangs up there would be flooded.
func (s *Sender) deliver(ctx context.Context, c Composed, hide redact.Secrets) (Receipt, *SendError) {
	if old := s.takeLive(hide); old != nil {
		receipt, failed := old.send(ctx, c, hide)
		again := failed != nil && ctx.Err() == nil && old.isStale(failed)
		old.broken = old.broken || again
		s.release(old, failed)
		if failed == nil {
			return receipt, nil
		}
		if !again {
			return Receipt{}, failed
		}
		s.log.Debug("idle connection was ended by the server", "error", failed)
	}
	fresh, failed := s.open(ctx, hide)
	if failed != nil {
		return Receipt{}, failed
	}
	receipt, failed := fresh.send(ctx, c, hide)
	s.release(fresh, failed)
	if failed != nil {
		return Receipt{}, failed
	}
	return receipt, nil
}

// takeLive returns an idle connection on which nothing was received since its
// last mail, or nil. It closes all others that it finds.
func (s *Sender) takeLive(hide redact.Secrets) *session {
	for {
		c, expired := s.takeIdle()
		quitAll(expired) // before another is dialled: MaxConns may be the server's limit
		if c == nil {
			return nil
		}
		err := c.idleFault()
		if err == nil {
			return c
		}
		s.log.Debug("idle connection was ended by the server", "error", sendError("MAIL", err, hide))
		c.abort()
	}
}

// idleFault returns what has happened to a connection that was not used for a
// while: the server has closed it, or has said what no command asked for, such as
// 421 or "451 4.4.2 Timeout waiting for data from client".
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
	// Something is there. Below TLS it need not be a reply: servers send tickets.
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

// isStale reports whether failed may be the fault of the connection alone. c was
// used before, and failed is that of the mail it has just tried.
func (c *session) isStale(failed *SendError) bool {
	if failed.refused() && failed.Err != nil {
		return false // our own verdict, without a word to the server
	}
	switch failed.Command {
	case "RSET", "MAIL":
		return !c.answered || !failed.refused()
	case "RCPT", "DATA":
		// A reply that makes no sense here, or the end of the connection: the answer
		// to MAIL may have been one that was older than MAIL. To hang is another thing.
		return !failed.refused() && !isTimeout(failed.Err)
	}
	return false
}

// closes reports whether the server ends the connection with this reply.
func closes(failed *SendError) bool {
	return failed.Code == 421 || failed.EnhancedCode[1] == 4 && failed.EnhancedCode[2] == 2
}
