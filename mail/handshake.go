package mail

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail/internal/redact"
)

// handshake prepares a new connection for MAIL: TLS, greeting, EHLO and login.
type handshake struct {
	*session
	sender     *Sender
	credential credential
	hide       redact.Secrets
}

// fail returns the failure of one step.
func (h *handshake) fail(command string, err error) *SendError {
	return sendError(command, err, h.hide)
}

// begin begins TLS where it comes first, and reads the greeting.
func (h *handshake) begin(ctx context.Context) (conn net.Conn, greeting *dialogue, failed *SendError) {
	conn = h.raw
	if h.cfg.Security == ImplicitTLS {
		if conn, failed = h.secure(ctx); failed != nil {
			return nil, nil, failed
		}
	}
	greeting, failed = h.greet(ctx, conn)
	return conn, greeting, failed
}

func (h *handshake) run(ctx context.Context) *SendError {
	conn, greeting, failed := h.begin(ctx)
	if failed != nil {
		return failed
	}
	if h.cfg.Security == StartTLS {
		if failed := h.startTLS(greeting); failed != nil {
			return failed
		}
		secured, failed := h.secure(ctx)
		if failed != nil {
			return failed
		}
		conn = secured
	}
	// go-smtp would send EHLO localhost before STARTTLS, and does not distinguish a failed
	// greeting from a failed EHLO. So it begins here, with a substitute for the greeting
	// that was already read.
	h.wire = newWire(conn, "220 ready\r\n")
	h.client = smtp.NewClient(h.wire)
	offered, err := h.sayHello()
	if err != nil {
		return h.fail("EHLO", err)
	}
	if h.cfg.login() {
		return h.login(offered.mechanisms)
	}
	return nil
}

// dialogue sends commands and reads replies without the client.
type dialogue struct {
	wire *wire
	text *textproto.Reader
}

func newDialogue(w *wire) *dialogue {
	return &dialogue{wire: w, text: textproto.NewReader(bufio.NewReader(w))}
}

// greet reads the greeting.
func (h *handshake) greet(ctx context.Context, conn net.Conn) (*dialogue, *SendError) {
	w := newWire(conn, "")
	d := newDialogue(w)
	err := w.begin(h.cfg.Timeouts.Greeting)
	if err == nil {
		err = h.awaitGreeting(ctx, w)
	}
	if err == nil {
		_, _, err = d.text.ReadResponse(220)
	}
	if err == nil && w.pending() {
		err = errUnsolicited
	}
	if err != nil {
		return nil, h.fail("GREETING", late(err, h.cfg.Timeouts.Greeting))
	}
	return d, nil
}

// ask sends a line and returns the reply.
func (d *dialogue) ask(limit time.Duration, line string) (code int, text string, err error) {
	if err := d.wire.begin(limit); err != nil {
		return 0, "", err
	}
	if _, err := d.wire.Write([]byte(line + "\r\n")); err != nil {
		return 0, "", late(err, limit)
	}
	code, text, err = d.text.ReadResponse(0)
	return code, text, late(err, limit)
}

// command sends a line and returns an error for any reply code but expect.
func (d *dialogue) command(limit time.Duration, expect int, line string) (string, error) {
	code, text, err := d.ask(limit, line)
	if err == nil && code != expect {
		err = &textproto.Error{Code: code, Msg: text}
	}
	return text, err
}

// startTLS sends STARTTLS, after which the TLS handshake begins. It fails if the server does
// not offer it, because mails are never sent in plain text instead.
func (h *handshake) startTLS(d *dialogue) *SendError {
	text, err := d.command(h.cfg.Timeouts.Command, 250, "EHLO "+h.hello)
	if err != nil {
		return h.fail("EHLO", err)
	}
	offered := false
	for line := range strings.SplitSeq(text, "\n") {
		offered = offered || strings.EqualFold(strings.TrimSpace(line), "STARTTLS")
	}
	if !offered {
		return h.fail("STARTTLS", setupError{
			"no STARTTLS offered", "it is required; use the port and the mode of implicit TLS, or another server",
		})
	}
	if _, err := d.command(h.cfg.Timeouts.Command, 220, "STARTTLS"); err != nil {
		return h.fail("STARTTLS", err)
	}
	if d.wire.pending() {
		// Plain text after the reply is an injection, made to be read as if it had
		// come encrypted.
		return h.fail("STARTTLS", errUnsolicited)
	}
	return nil
}

// offers holds the extensions of an EHLO reply that go-smtp does not parse in all forms.
type offers struct {
	lines      int
	mechanisms []string // of AUTH, in upper case
}

// sayHello sends EHLO and returns the offers of the server.
func (c *session) sayHello() (*offers, error) {
	o := &offers{}
	c.wire.offers = o
	defer func() { c.wire.offers = nil }()
	err := c.step(c.cfg.Timeouts.Command, func() error { return c.client.Hello(c.hello) })
	return o, err
}

// note parses one line of the reply. It converts the keyword to upper case in place: keywords
// may have any case (RFC 5321 section 4.1.1.1), but go-smtp accepts only one.
func (o *offers) note(line []byte) {
	o.lines++
	if o.lines == 1 || len(line) < 4 || !bytes.HasPrefix(line, []byte("250")) {
		return // the first line names the server
	}
	rest := line[4:]
	end := bytes.IndexAny(rest, " \t=\r\n")
	if end < 0 {
		end = len(rest)
	}
	copy(rest, bytes.ToUpper(rest[:end]))
	if string(rest[:end]) != "AUTH" {
		return
	}
	// AUTH=LOGIN is older than RFC 2554, and servers still send it beside the new form.
	for _, name := range strings.Fields(strings.ReplaceAll(string(rest[end:]), "=", " ")) {
		if name = strings.ToUpper(name); !slices.Contains(o.mechanisms, name) {
			o.mechanisms = append(o.mechanisms, name)
		}
	}
}
