package mail

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// open makes a connection that is ready for MAIL, unless the login is refused at
// the moment.
func (s *Sender) open(ctx context.Context) (*session, *SendError) {
	if !s.cfg.login() {
		return s.connect(ctx)
	}
	refusal, probe := s.guard.enter(time.Now())
	if refusal != nil {
		return nil, refusal
	}
	c, failed := s.connect(ctx)
	s.guard.leave(probe, failed, s.cfg.LoginPause, time.Now())
	return c, failed
}

// connect makes a connection that is greeted, encrypted as configured and logged
// in. It dials once.
func (s *Sender) connect(ctx context.Context) (*session, *SendError) {
	dialer := net.Dialer{Timeout: s.cfg.Timeouts.Dial}
	raw, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, because(ctx, sendError("DIAL", err))
	}
	c := &session{cfg: &s.cfg, raw: raw, born: time.Now(), hello: s.cfg.HelloName}
	stop := context.AfterFunc(ctx, c.abort)
	failed := c.handshake(ctx, s.tls)
	if !stop() && failed == nil {
		failed = &SendError{Command: "WAIT", Err: ended(ctx)}
	}
	if failed != nil {
		c.abort()
		return nil, because(ctx, failed)
	}
	s.log.Debug("connected to SMTP server", "peer", raw.RemoteAddr().String(), "tls", c.tls)
	return c, nil
}

// because names the end of ctx as the cause of a failure that it brought about.
func because(ctx context.Context, failed *SendError) *SendError {
	if failed.Code == 0 && ctx.Err() != nil {
		failed.Err = ended(ctx)
	}
	return failed
}

// ended is the error of a context with its cause: who cancels with a cause of
// his own still cancels, and that is no fault of the server.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

func (c *session) handshake(ctx context.Context, config *tls.Config) *SendError {
	conn := c.raw
	if c.cfg.Security == ImplicitTLS {
		secured, failed := c.secure(ctx, config)
		if failed != nil {
			return failed
		}
		conn = secured
	}
	greeting, failed := c.greet(conn)
	if failed != nil {
		return failed
	}
	if c.cfg.Security == StartTLS {
		if failed := c.startTLS(greeting); failed != nil {
			return failed
		}
		secured, failed := c.secure(ctx, config)
		if failed != nil {
			return failed
		}
		conn = secured
	}
	// go-smtp would say EHLO localhost before STARTTLS and cannot tell a failed
	// greeting from a failed EHLO, so it comes in here, with a stand-in for the
	// greeting that was read already.
	c.wire = newWire(conn, "220 ready\r\n")
	c.client = smtp.NewClient(c.wire)
	if err := c.step(c.cfg.Timeouts.Command, func() error { return c.client.Hello(c.hello) }); err != nil {
		return sendError("EHLO", err)
	}
	if c.cfg.login() {
		return c.login()
	}
	return nil
}

// secure runs the TLS handshake over the raw connection.
func (c *session) secure(ctx context.Context, config *tls.Config) (net.Conn, *SendError) {
	limit := c.cfg.Timeouts.TLS
	if err := c.raw.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, sendError("TLS", err)
	}
	conn := tls.Client(c.raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			// The original holds the connection, and would hold it for ever.
			err = errors.New(header.Msg)
			if strings.HasPrefix(string(header.RecordHeader[:]), "220") {
				err = setupError{"no TLS", "the server speaks SMTP without TLS on this port; select STARTTLS, or the port of implicit TLS"}
			}
		}
		return nil, sendError("TLS", err)
	}
	state := conn.ConnectionState()
	c.tls = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	return conn, nil
}

// dialogue speaks SMTP before there is a client.
type dialogue struct {
	wire *wire
	text *textproto.Reader
}

// greet reads the greeting.
func (c *session) greet(conn net.Conn) (*dialogue, *SendError) {
	w := newWire(conn, "")
	d := &dialogue{wire: w, text: textproto.NewReader(bufio.NewReader(w))}
	err := w.begin(c.cfg.Timeouts.Greeting)
	if err == nil {
		_, _, err = d.text.ReadResponse(220)
	}
	if err == nil && w.pending() {
		err = errUnsolicited
	}
	if err != nil {
		return nil, sendError("GREETING", err)
	}
	return d, nil
}

func (d *dialogue) command(limit time.Duration, expect int, line string) (string, error) {
	if err := d.wire.begin(limit); err != nil {
		return "", err
	}
	if _, err := d.wire.Write([]byte(line + "\r\n")); err != nil {
		return "", err
	}
	_, text, err := d.text.ReadResponse(expect)
	return text, err
}

// startTLS brings the server to the point where the handshake begins, or fails:
// there is no way on in plain text.
func (c *session) startTLS(d *dialogue) *SendError {
	text, err := d.command(c.cfg.Timeouts.Command, 250, "EHLO "+c.hello)
	if err != nil {
		return sendError("EHLO", err)
	}
	offered := false
	for line := range strings.SplitSeq(text, "\n") {
		offered = offered || strings.EqualFold(strings.TrimSpace(line), "STARTTLS")
	}
	if !offered {
		return sendError("STARTTLS", setupError{"no STARTTLS offered", "it is required; select implicit TLS where the port has that, or another port"})
	}
	if _, err := d.command(c.cfg.Timeouts.Command, 220, "STARTTLS"); err != nil {
		return sendError("STARTTLS", err)
	}
	if d.wire.pending() {
		// Whatever came in plain text after the reply was put there by somebody
		// who wants it to be read as if it had come encrypted.
		return sendError("STARTTLS", errUnsolicited)
	}
	return nil
}

// login authenticates, RFC 4954.
func (c *session) login() *SendError {
	if c.tls == "" && !isLoopbackAddr(c.raw.RemoteAddr()) {
		return sendError("AUTH", setupError{"no TLS", "the password would be readable on its way"})
	}
	var mechanism sasl.Client
	switch {
	case c.client.SupportsAuth(sasl.Plain):
		mechanism = sasl.NewPlainClient("", c.cfg.Username, c.cfg.Password)
	case c.client.SupportsAuth(sasl.Login):
		mechanism = &loginMechanism{answers: []string{c.cfg.Username, c.cfg.Password}}
	default:
		return sendError("AUTH", setupError{"no login by PLAIN or LOGIN offered", "look at the port and the settings of the server"})
	}
	err := c.step(c.cfg.Timeouts.Command, func() error { return c.client.Auth(mechanism) })
	if err != nil {
		return sendError("AUTH", err, c.cfg.loginSecrets())
	}
	return nil
}

// loginMechanism is LOGIN by the order of the prompts, not by their text, which
// differs between servers.
type loginMechanism struct{ answers []string }

func (m *loginMechanism) Start() (string, []byte, error) { return sasl.Login, nil, nil }

func (m *loginMechanism) Next([]byte) ([]byte, error) {
	if len(m.answers) == 0 {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	answer := m.answers[0]
	m.answers = m.answers[1:]
	return []byte(answer), nil
}

func isLoopbackAddr(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
