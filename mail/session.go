package mail

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail/internal/redact"
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

	answered bool // a command of the current mail got its reply
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
	if m.beforeFinal != nil {
		c.wire.final = &finalWrite{ask: func() error {
			c.watch.enter(&c.watch.Guard)
			defer c.watch.enter(&c.watch.Final)
			return m.beforeFinal(ctx)
		}}
	}
	reply, failed := c.transact(m, hide)
	c.wire.final = nil
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

func (c *session) transact(m Composed, hide redact.Secrets) (reply string, failed *SendError) {
	c.watch.enter(&c.watch.Mail)
	defer c.watch.stop()
	if c.dirty {
		if failed := c.reset(hide); failed != nil {
			return "", failed
		}
	}
	if failed := c.fits(m); failed != nil {
		return "", failed
	}
	limit := c.cfg.Timeouts.Command
	opts, recipient := m.mailOptions(), m.rcptOptions()
	accept := positive
	if !c.answered { // 250 is certainly the reply to MAIL; 221 and others are older ones
		accept = func(err error) error { return err }
	}
	err := c.step(limit, func() error { return accept(c.client.Mail(m.From.String(), &opts)) })
	if err != nil {
		return "", sendError("MAIL", err, hide)
	}
	c.answered = true
	c.watch.enter(&c.watch.Rcpt)
	err = c.step(limit, func() error { return positive(c.client.Rcpt(m.To.String(), &recipient)) })
	if err != nil {
		return "", sendError("RCPT", err, hide)
	}
	c.watch.enter(&c.watch.Data)
	var data *smtp.DataCommand
	err = c.step(limit, func() error { data, err = c.client.Data(); return err })
	if err != nil {
		return "", sendError("DATA", err, hide)
	}
	return c.body(data, m.Bytes, hide)
}

// body writes the mail and reads the final reply. It sends the final dot only after the whole
// mail, so that a server never accepts half a mail.
func (c *session) body(data *smtp.DataCommand, mail []byte, hide redact.Secrets) (reply string, failed *SendError) {
	perWrite := c.cfg.Timeouts.BodyWrite
	if err := c.wire.begin(10 * perWrite); err != nil {
		return "", c.cutOff(err, hide)
	}
	c.wire.write = perWrite
	c.wire.final.start()
	if _, err := data.Write(mail); err != nil {
		return "", c.cutOff(err, hide)
	}
	if err := c.wire.begin(c.cfg.Timeouts.Final); err != nil {
		return "", c.cutOff(err, hide)
	}
	c.wire.write = perWrite
	if !c.wire.final.expected() {
		c.watch.enter(&c.watch.Final)
	}
	response, err := data.CloseWithResponse()
	switch accepted, refused := acceptance(err); {
	case err == nil:
		return response.StatusText, nil
	case refused == nil && accepted != "":
		return accepted, nil
	case c.wire.final.withheld() != nil:
		return "", &SendError{Command: "BODY", Err: fmt.Errorf("%w: %w", ErrWithheld, c.wire.final.withheld())}
	case c.wire.final.expected():
		return "", c.cutOff(err, hide) // the end of data was not sent
	case c.wire.wrote != nil:
		// The last write ends with the dot. If it failed, the server cannot have the
		// dot.
		return "", c.cutOff(c.wire.wrote, hide)
	}
	return "", sendError(".", late(err, c.cfg.Timeouts.Final), hide)
}

// cutOff returns the failure of a body without its end of data. A server that closes the
// connection then has often sent the reason before.
func (c *session) cutOff(err error, hide redact.Secrets) *SendError {
	if !isTimeout(err) && !errors.Is(err, net.ErrClosed) {
		if c.wire.Conn.SetReadDeadline(time.Now().Add(c.cfg.Timeouts.Quit)) == nil {
			_, _, replied := textproto.NewReader(bufio.NewReader(c.wire)).ReadResponse(250)
			if failed := sendError("BODY", replied, hide); failed.refused() {
				c.broken = true
				return failed
			}
		}
	}
	return sendError("BODY", late(err, c.cfg.Timeouts.BodyWrite), hide)
}

// positive turns every 2yz reply into success, because only the first digit counts (RFC 5321
// section 4.3.2). The client compares all three digits.
func positive(err error) error {
	if _, refused := acceptance(err); refused != nil {
		return refused
	}
	return nil
}

// acceptance returns the text of a 2yz reply that the client reported as an error. It returns
// other errors as they are.
func acceptance(err error) (text string, refused error) {
	if reply, ok := errors.AsType[*smtp.SMTPError](err); ok && reply.Code/100 == 2 {
		return reply.Message + " ", nil
	}
	return "", err
}

// fits refuses a mail that exceeds what the server announced in its EHLO reply.
func (c *session) fits(m Composed) *SendError {
	if limit, ok := c.client.MaxMessageSize(); ok && limit > 0 && len(m.Bytes) > limit {
		return &SendError{Command: "MAIL", Code: 552, EnhancedCode: [3]int{5, 3, 4}, Err: errors.New("mail larger than the server allows")}
	}
	if ok, _ := c.client.Extension("SMTPUTF8"); !ok && m.To.UTF8() {
		return &SendError{Command: "MAIL", Code: 553, EnhancedCode: [3]int{5, 6, 7}, Err: errors.New("the server offers no SMTPUTF8, which the address needs")}
	}
	return nil
}

// reset ends the transaction that a refusal left open. After an accepted mail a RSET would
// cost a round trip, and its failure would be no failure of that mail.
func (c *session) reset(hide redact.Secrets) *SendError {
	err := c.step(c.cfg.Timeouts.Command, c.client.Reset)
	if err == nil { // the client forgets its EHLO at a reset
		_, err = c.sayHello()
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
	if err := c.wire.begin(c.cfg.Timeouts.Quit); err == nil {
		_ = c.client.Quit() // its outcome does not matter: the server has the mails
	}
	c.abort()
}

// abort closes the raw connection at once. Unlike closing the TLS layer, this wakes every
// goroutine that waits for the connection.
func (c *session) abort() { _ = c.raw.Close() }
