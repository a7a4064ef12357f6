package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/mail/internal/command"
	"github.com/evently/workers/mail/internal/redact"
	"github.com/evently/workers/mail/internal/ways"
)

// endOfData ends a mail, RFC 5321 section 4.1.1.4. A body cannot contain it, because dots at
// the beginning of its lines are doubled.
var endOfData = []byte("\r\n.\r\n")

// stage is one command of a transaction.
type stage struct {
	name  string // as in [SendError.Command]
	text  string // with its CRLF, and the octets that follow it at once
	phase *time.Duration
}

// transact runs the transaction of one mail in the way that the server can do. It returns the
// text of the final reply.
func (c *session) transact(ctx context.Context, m Composed, hide redact.Secrets) (text string, failed *SendError) {
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
	stages, failed := c.envelope(m)
	if failed != nil {
		return "", failed
	}
	content := m.Bytes
	if c.way == ways.Chunked {
		if !c.chunks {
			probe, rest := splitProbe(content)
			stages = append(stages, stage{"DATA", "BDAT " + strconv.Itoa(len(probe)) + "\r\n" + string(probe), &c.watch.Data})
			content = rest
		}
	} else {
		stages = append(stages, stage{"DATA", "DATA\r\n", &c.watch.Data})
	}
	if c.way == ways.Stepwise {
		for one := range slices.Chunk(stages, 1) {
			if failed := c.exchange(one, hide); failed != nil {
				return "", failed
			}
		}
	} else if failed := c.exchange(stages, hide); failed != nil {
		return "", failed
	}
	c.watch.enter(&c.watch.Data)
	if c.way == ways.Chunked {
		c.chunks = true
		return c.content(ctx, m, chunk(content), hide)
	}
	return c.content(ctx, m, stuff(content), hide)
}

// envelope returns the commands MAIL and RCPT.
func (c *session) envelope(m Composed) ([]stage, *SendError) {
	from, err := command.Mail(c.offers, m.From.String(), m.mailOptions())
	if err != nil {
		return nil, &SendError{Command: "MAIL", Err: err}
	}
	to, err := command.Rcpt(c.offers, m.To.String(), m.rcptOptions())
	if err != nil {
		return nil, &SendError{Command: "RCPT", Err: err}
	}
	return []stage{{"MAIL", from + "\r\n", &c.watch.Mail}, {"RCPT", to + "\r\n", &c.watch.Rcpt}}, nil
}

// exchange sends a group of commands at once and reads the reply to each. After the first
// failure the group has no effect: the replies to the rest are read and ignored.
func (c *session) exchange(group []stage, hide redact.Secrets) *SendError {
	limit := c.cfg.Timeouts.Command
	c.watch.enter(group[0].phase)
	err := c.wire.begin(limit)
	if err == nil {
		var text []byte
		for _, s := range group {
			text = append(text, s.text...)
		}
		_, err = c.wire.Write(text)
	}
	if err != nil {
		return sendError(group[0].name, late(err, limit), hide)
	}
	for i, s := range group {
		c.watch.enter(s.phase)
		r, err := c.wire.reply(limit)
		if err == nil && !c.expected(s, r) {
			err = r.err()
		}
		if err == nil {
			c.answered = true
			continue
		}
		failed := sendError(s.name, err, hide)
		if len(group) > 1 {
			failed.misled = c.misled(s, r, failed)
		}
		c.discard(group[i+1:], failed)
		return failed
	}
	if last := group[len(group)-1]; len(group) > 1 && c.wire.pending() {
		failed := sendError(last.name, errUnsolicited, hide)
		failed.misled = c.way
		return failed
	}
	return nil
}

// expected reports whether r is the positive reply to s.
func (c *session) expected(s stage, r reply) bool {
	switch {
	case s.text == "DATA\r\n":
		return r.code == 354
	case s.name == "MAIL" && !c.answered:
		return r.code == 250 // certainly the reply to MAIL; 221 and others are older ones
	}
	return r.positive()
}

// misled returns the way that the server offered and cannot do, if the failure of a command in
// a group suggests that, or else [ways.Stepwise]. r is the reply, if there was one.
func (c *session) misled(s stage, r reply, failed *SendError) ways.Way {
	blamed := ways.Pipelined
	if strings.HasPrefix(s.text, "BDAT") {
		blamed = ways.Chunked
	}
	words := strings.ToLower(r.text)
	switch {
	case r.code == 0 || s.name == "MAIL" && !c.answered:
		return ways.Stepwise // no reply, or an older one
	case !failed.refused():
		return blamed // the reply to another command
	case strings.Contains(words, "pipelin"), strings.Contains(words, "synchroni"):
		return blamed
	}
	switch e := failed.EnhancedCode; {
	case e != [3]int{} && (e[1] != 5 || e[2] > 1):
	case r.code == 500, r.code == 502, r.code == 503: // not understood, not implemented, bad sequence
		return blamed
	}
	return ways.Stepwise
}

// discard reads the replies to the commands after a refused one. The connection is not reused if
// they do not come soon, or if one of them lets the server expect a mail: a lone end of data
// could deliver an empty one.
func (c *session) discard(rest []stage, failed *SendError) {
	if failed.misled != ways.Stepwise || !failed.refused() || closes(failed) {
		c.broken = true
		return
	}
	for range rest {
		r, err := c.wire.reply(c.cfg.Timeouts.Quit)
		if err != nil || r.code < 400 && r.code/100 != 2 {
			c.broken = true
			return
		}
	}
}

// content writes a finished mail and reads the final reply. Without the last octets the server
// has no mail: they are written when everything else is, and when beforeFinal allows it.
func (c *session) content(ctx context.Context, m Composed, mail []byte, hide redact.Secrets) (text string, failed *SendError) {
	perWrite := c.cfg.Timeouts.BodyWrite
	if err := c.wire.begin(10 * perWrite); err != nil {
		return "", c.cutOff(err, hide)
	}
	c.wire.write = perWrite
	end := max(0, len(mail)-len(endOfData))
	if m.beforeFinal == nil {
		end = (len(mail) - 1) / maxWrite * maxWrite // the last write of several
	}
	if _, err := c.wire.Write(mail[:end]); err != nil {
		return "", c.cutOff(err, hide)
	}
	if m.beforeFinal != nil {
		c.watch.enter(&c.watch.Guard)
		if err := m.beforeFinal(ctx); err != nil {
			return "", &SendError{Command: "BODY", Err: fmt.Errorf("%w: %w", ErrWithheld, err)}
		}
	}
	c.watch.enter(&c.watch.Final)
	limit := c.cfg.Timeouts.Final
	if err := c.wire.begin(limit); err != nil {
		return "", c.cutOff(err, hide)
	}
	c.wire.write = perWrite
	if _, err := c.wire.Write(mail[end:]); err != nil {
		// The server cannot have the last octet.
		return "", c.cutOff(err, hide)
	}
	r, err := c.wire.reply(limit)
	if err == nil && !r.positive() {
		err = r.err()
	}
	if err != nil {
		return "", sendError(".", err, hide)
	}
	return r.text, nil
}

// cutOff returns the failure of a mail without its last octets. A server that closes the
// connection then has often sent the reason before.
func (c *session) cutOff(err error, hide redact.Secrets) *SendError {
	if !isTimeout(err) && !errors.Is(err, net.ErrClosed) {
		if r, unread := c.wire.reply(c.cfg.Timeouts.Quit); unread == nil && !r.positive() {
			if failed := sendError("BODY", r.err(), hide); failed.refused() {
				c.broken = true
				return failed
			}
		}
	}
	return sendError("BODY", late(err, c.cfg.Timeouts.BodyWrite), hide)
}

// stuff returns mail as DATA sends it: with the dots at the beginning of lines doubled, and with
// its end.
func stuff(mail []byte) []byte {
	out := make([]byte, 0, len(mail)+len(mail)/64+len(endOfData))
	for line := range bytes.Lines(mail) {
		if line[0] == '.' {
			out = append(out, '.')
		}
		out = append(out, line...)
	}
	return append(endLine(out), ".\r\n"...)
}

// chunk returns mail, or the rest of it, as BDAT sends it.
func chunk(mail []byte) []byte {
	mail = endLine(mail)
	return append([]byte("BDAT "+strconv.Itoa(len(mail))+" LAST\r\n"), mail...)
}

// endLine returns mail with a line end at its end.
func endLine(mail []byte) []byte {
	switch {
	case bytes.HasSuffix(mail, []byte("\r\n")):
		return mail
	case bytes.HasSuffix(mail, []byte("\r")):
		return append(mail[:len(mail):len(mail)], '\n')
	}
	return append(mail[:len(mail):len(mail)], "\r\n"...)
}

// isProbe reports whether the first line of mail may be the first chunk on a connection. A
// server that cannot do BDAT reads the chunk as commands, so no text of a user may be in it. It
// is the beginning of a field that this package writes.
func isProbe(mail []byte) bool {
	first, rest, _ := bytes.Cut(mail, []byte("\r\n"))
	return len(rest) > 0 && (bytes.HasPrefix(first, []byte("Date: ")) || bytes.HasPrefix(first, []byte("DKIM-Signature: ")))
}

// splitProbe returns the first line of a mail, and the rest.
func splitProbe(mail []byte) (probe, rest []byte) {
	n := bytes.Index(mail, []byte("\r\n")) + 2
	return mail[:n], mail[n:]
}
