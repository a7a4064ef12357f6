package mail

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// Limits for one reply. RFC 5321 section 4.5.3.1.5 limits a line to 512 octets. Real servers
// write more, but none writes this much.
const (
	maxReplyLine  = 2000
	maxReplyLines = 100
	maxReplyBytes = 32 << 10
)

// wire is the connection as the SMTP client sees it. It owns the deadlines and ignores those of
// the client, which sets none while it writes the body. It returns one line at a time, so
// that it detects a reply that came before its command.
type wire struct {
	net.Conn
	in     *bufio.Reader
	rest   []byte        // unread rest of the current line
	end    time.Time     // of the step
	write  time.Duration // limit of one write; 0: the limit of the step
	lines  int           // lines read in this step
	bytes  int           // octets read in this step
	wrote  error         // of the last failed write in this step
	offers *offers       // parses each line of an EHLO reply; nil: no line is parsed
	final  *finalWrite   // asked before the end of data; nil: none
}

// newWire wraps conn. preface is read first. It replaces a greeting that was already read.
func newWire(conn net.Conn, preface string) *wire {
	var in io.Reader = conn
	if preface != "" {
		in = io.MultiReader(strings.NewReader(preface), conn)
	}
	return &wire{Conn: conn, in: bufio.NewReader(in)}
}

// begin starts a step that must end within limit. It fails if there is something to read: an
// unsolicited reply, sent by a server that is out of step or by an attacker, would be taken
// for the next reply.
func (w *wire) begin(limit time.Duration) error {
	w.end, w.write = time.Now().Add(limit), 0
	w.bytes, w.lines, w.wrote = 0, 0, nil
	if w.pending() {
		return errUnsolicited
	}
	return w.Conn.SetDeadline(w.end)
}

// pending reports whether unread octets were received.
func (w *wire) pending() bool { return w.in.Buffered()+len(w.rest) > 0 }

// Read returns one line of a reply, or the rest of a line.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.rest) == 0 {
		if err := w.readLine(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

func (w *wire) readLine() error {
	if w.lines >= maxReplyLines || w.bytes >= maxReplyBytes {
		return errReplySize
	}
	line, err := w.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxReplyLine {
		return errReplySize
	}
	if err != nil {
		return err
	}
	w.lines++
	w.bytes += len(line)
	if w.offers != nil {
		w.offers.note(line)
	}
	w.rest = line
	// A code without text is a valid reply (RFC 5321 section 4.2), but net/textproto
	// requires a space. A bare 250 for a mail must not count as malformed.
	if code := bytes.TrimRight(line, "\r\n"); len(code) == 3 {
		w.rest = append(bytes.Clone(code), " \r\n"...)
	}
	return nil
}

// Write writes p. With a [finalWrite] it writes the end of data of a body separately.
func (w *wire) Write(p []byte) (int, error) {
	if !w.final.expected() {
		return w.writeNow(p)
	}
	ready, end := w.final.split(p)
	if len(ready) > 0 {
		if _, err := w.writeNow(ready); err != nil {
			return 0, err
		}
	}
	if !end {
		return len(p), nil
	}
	asked := time.Now()
	if w.wrote = w.final.allow(); w.wrote != nil {
		return 0, w.wrote
	}
	w.end = w.end.Add(time.Since(asked)) // the time of the question is not the server's
	if w.wrote = w.Conn.SetDeadline(w.end); w.wrote != nil {
		return 0, w.wrote
	}
	if _, err := w.writeNow(endOfData); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *wire) writeNow(p []byte) (int, error) {
	if w.write > 0 {
		end := time.Now().Add(w.write)
		if end.After(w.end) {
			end = w.end
		}
		if err := w.Conn.SetWriteDeadline(end); err != nil {
			w.wrote = err
			return 0, err
		}
	}
	n, err := w.Conn.Write(p)
	if err != nil {
		w.wrote = err
	}
	return n, err
}

// SetDeadline does nothing: begin does.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: begin does.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: begin does.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
