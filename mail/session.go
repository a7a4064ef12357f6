package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail/internal/redact"
	"github.com/evently/workers/mail/internal/ways"
)

// session is one connection to the server. One goroutine uses it at a time; another one may
// only call abort.
type session struct {
	cfg    *Config
	raw    net.Conn
	wire   *wire
	client *smtp.Client
	hello  string
	tls    string // version and cipher suite, "" without TLS

	born   time.Time
	used   time.Time // end of the last mail
	sent   int       // mails tried
	dirty  bool      // the last mail was refused, so the transaction may be open
	broken bool      // must not be reused

	ways     *ways.Memory // of the server
	stepwise bool         // the server may not be able to do what it offers
	chunks   bool         // the server accepted a chunk on this connection

	way      ways.Way // of the current mail
	doubted  ways.Way // as [ways.Memory.Choose] returned it
	answered bool     // a command of the current mail got its reply
	watch    stopwatch
}

// stopwatch measures the phases of one mail.
type stopwatch struct {
	Times
	phase *time.Duration // the current one
	begun time.Time
}

// enter ends the current phase and begins another one, which is a field of the stopwatch.
func (w *stopwatch) enter(phase *time.Duration) {
	w.stop()
	w.phase = phase
}

// stop ends the current phase.
func (w *stopwatch) stop() {
	now := time.Now()
	if w.phase != nil {
		*w.phase += now.Sub(w.begun)
	}
	w.phase, w.begun = nil, now
}

// send runs one mail transaction, RFC 5321 section 3.3. The delivery began at start, when it
// needed a connection.
func (c *session) send(ctx context.Context, m Composed, hide redact.Secrets, start time.Time) (Receipt, *SendError) {
	c.watch = stopwatch{Times: Times{Connect: time.Since(start)}}
	if ctx.Err() != nil {
		return Receipt{}, &SendError{Command: "WAIT", Err: ended(ctx)}
	}
	stop := context.AfterFunc(ctx, c.abort)
	receipt := Receipt{
		MessageID: m.MessageID,
		TLS:       c.tls,
		Peer:      c.raw.RemoteAddr().String(),
		Size:      len(m.Bytes),
		Reused:    c.sent > 0,
	}
	c.sent++
	c.answered = !receipt.Reused
	c.chooseWay(m)
	reply, failed := c.transact(ctx, m, hide)
	if !stop() {
		c.broken = true // abort was called
	}
	if failed != nil {
		// After a refusal the connection can be reused, unless the server closes it.
		c.broken = c.broken || !failed.refused() || closes(failed)
		failed.TLS, failed.Times = c.tls, c.watch.Times
		return Receipt{}, withContextCause(ctx, failed)
	}
	receipt.Times = c.watch.Times
	receipt.Reply = cleanReply(reply, hide)
	receipt.QueueID = queueID(reply, m.To, hide)
	return receipt, nil
}

// chooseWay sets the way of m.
func (c *session) chooseWay(m Composed) {
	offered := ways.Stepwise
	if c.offers("PIPELINING") && !c.cfg.NoPipelining && !c.stepwise {
		offered = ways.Pipelined
		if c.offers("CHUNKING") && !c.cfg.NoChunking && (c.chunks || isProbe(m.Bytes)) {
			offered = ways.Chunked
		}
	}
	c.way, c.doubted = c.ways.Choose(offered, time.Now())
}

func (c *session) offers(extension string) bool {
	ok, _ := c.client.Extension(extension)
	return ok
}

// Timeouts limits the steps of a delivery. 0 means the default; no step can wait forever. The
// context of [Sender.Send] limits the whole delivery.
//
// RFC 5321 section 4.5.3.2 recommends minutes for every step. That suits relays that speak to
// unknown hosts. A submission server that is so slow is out of order, and a task is waiting.
// Only Final is long, because giving up there leaves unknown whether the mail was delivered.
type Timeouts struct {
	Dial      time.Duration // name resolution and TCP, 10 s
	TLS       time.Duration // handshake, 10 s
	Greeting  time.Duration // until the server's first reply, 30 s
	Command   time.Duration // from a command to the end of its reply, 30 s
	BodyWrite time.Duration // until the server accepts the next bytes, 30 s; ten times that for the whole body
	Final     time.Duration // from the end of data to its reply, 120 s
	Quit      time.Duration // for QUIT at the end, 2 s
}

// isTimeout reports whether err is the end of a deadline of this package.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// step runs one exchange of the client within limit.
func (c *session) step(limit time.Duration, exchange func() error) error {
	if err := c.wire.begin(limit); err != nil {
		return err
	}
	return late(exchange(), limit)
}

// late returns a plain text for the end of a deadline, and other errors as they are.
func late(err error, limit time.Duration) error {
	if isTimeout(err) {
		return fmt.Errorf("no progress for %g s: %w", limit.Seconds(), os.ErrDeadlineExceeded)
	}
	return err
}

// fits refuses a mail that exceeds what the server announced in its EHLO reply.
func (c *session) fits(m Composed) *SendError {
	if limit, ok := c.client.MaxMessageSize(); ok && limit > 0 && len(m.Bytes) > limit {
		return &SendError{Command: "MAIL", Code: 552, EnhancedCode: [3]int{5, 3, 4}, Err: errors.New("mail larger than the server allows")}
	}
	if m.To.UTF8() && !c.offers("SMTPUTF8") {
		return &SendError{Command: "MAIL", Code: 553, EnhancedCode: [3]int{5, 6, 7}, Err: errors.New("the server offers no SMTPUTF8, which the address needs")}
	}
	return nil
}

// reset ends the transaction that a refusal left open. After an accepted mail a RSET would
// cost a round trip, and its failure would be no failure of that mail.
func (c *session) reset(hide redact.Secrets) *SendError {
	r, err := c.ask(c.cfg.Timeouts.Command, "RSET\r\n")
	if err == nil && r.code != 250 {
		err = r.err()
	}
	if err != nil {
		c.broken = true
		return sendError("RSET", err, hide)
	}
	c.dirty, c.answered = false, true
	return nil
}

// quit sends QUIT within a short timeout and closes the connection.
func (c *session) quit() {
	// The outcome does not matter, because the server has the mails.
	_, _ = c.ask(c.cfg.Timeouts.Quit, "QUIT\r\n")
	c.abort()
}

// ask writes text and returns the reply.
func (c *session) ask(limit time.Duration, text string) (reply, error) {
	if err := c.wire.begin(limit); err != nil {
		return reply{}, err
	}
	if _, err := c.wire.Write([]byte(text)); err != nil {
		return reply{}, late(err, limit)
	}
	return c.wire.reply(limit)
}

// abort closes the raw connection at once. Unlike closing the TLS layer, this wakes every
// goroutine that waits for the connection.
func (c *session) abort() { _ = c.raw.Close() }
