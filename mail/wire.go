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

// Limits for one reply. RFC 5321 section 4.5.3.1.5 has 512 octets for a line;
// real servers write more, none writes this much.
const (
	maxReplyLine  = 2000
	maxReplyLines = 100
	maxReplyBytes = 32 << 10
)

// wire is the connection as the SMTP client sees it. It owns the deadlines: the
// client sets and clears some of its own, and has none at all while it writes
// the body, so what the client sets is ignored. And it hands out one line at a
// time, so that it knows of a reply that came before its command.
type wire struct {
	net.Conn
	in     *bufio.Reader
	rest   []byte        // of the line that is being handed out
	end    time.Time     // of the step
	write  time.Duration // limit of one write; 0: the step's
	lines  int           // read in this step
	bytes  int           // likewise
	wrote  error         // of the last failed write in this step
	offers *offers       // told of each line of an EHLO reply; nil: nothing is
	final  *finalWrite   // asked before the end of data; nil: nothing asks
}

// newWire wraps conn. preface is read first: the greeting, when it was read
// before the client came into being.
func newWire(conn net.Conn, preface string) *wire {
	var in io.Reader = conn
	if preface != "" {
		in = io.MultiReader(strings.NewReader(preface), conn)
	}
	return &wire{Conn: conn, in: bufio.NewReader(in)}
}

// begin starts a step that must be over after limit. It refuses to when
// something is there to read: an answer to nothing. From a server that lost its
// place, or from somebody on the way, it would be taken for the next reply.
func (w *wire) begin(limit time.Duration) error {
	w.end, w.write = time.Now().Add(limit), 0
	w.bytes, w.lines, w.wrote = 0, 0, nil
	if w.pending() {
		return errUnsolicited
	}
	return w.Conn.SetDeadline(w.end)
}

// pending reports whether something was received that nobody asked for yet.
func (w *wire) pending() bool { return w.in.Buffered()+len(w.rest) > 0 }

// Read hands out one line of a reply, or the rest of it.
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
	// A code without text is a whole reply (RFC 5321 section 4.2), but net/textproto
	// wants the space. Such a 250 for a mail must not be mistaken for nonsense.
	if code := bytes.TrimRight(line, "\r\n"); len(code) == 3 {
		w.rest = append(bytes.Clone(code), " \r\n"...)
	}
	return nil
}

// Write writes p. Of a body with a [finalWrite] the end of data goes out alone.
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
	w.end = w.end.Add(time.Since(asked)) // the server's time begins now
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
