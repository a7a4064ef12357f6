package mail

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/textproto"
	"slices"
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

// maxWrite is the most octets of one write: those of one TLS record.
const maxWrite = 16 << 10

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
	offers *offers       // parses each line of an EHLO reply; nil: no line is parsed
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
	w.bytes, w.lines = 0, 0
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
	if code := bytes.TrimRight(line, "\r\n"); len(code) == 3 && isDigits(code) {
		w.rest = append(bytes.Clone(code), " \r\n"...)
	}
	return nil
}

// Write writes p. With a limit of one write it writes p in parts, each of which has that limit,
// so that a slow server is told from one that reads nothing.
func (w *wire) Write(p []byte) (n int, err error) {
	for part := range slices.Chunk(p, maxWrite) {
		m, err := w.writePart(part)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (w *wire) writePart(p []byte) (int, error) {
	if w.write > 0 {
		end := time.Now().Add(w.write)
		if end.After(w.end) {
			end = w.end
		}
		if err := w.Conn.SetWriteDeadline(end); err != nil {
			return 0, err
		}
	}
	return w.Conn.Write(p)
}

// reply reads a reply within limit. It must follow begin. More replies to the same write may be
// waiting.
func (w *wire) reply(limit time.Duration) (reply, error) {
	w.end, w.bytes, w.lines = time.Now().Add(limit), 0, 0
	if err := w.Conn.SetDeadline(w.end); err != nil {
		return reply{}, err
	}
	r, err := readReply(func() ([]byte, error) {
		if len(w.rest) == 0 {
			if err := w.readLine(); err != nil {
				return nil, err
			}
		}
		line := w.rest
		w.rest = nil
		return line, nil
	})
	return r, late(err, limit)
}

// reply is a reply of the server.
type reply struct {
	code int
	text string // the lines without their codes, joined by LF
}

// positive reports whether r is a 2yz reply. Only the first digit counts (RFC 5321 section
// 4.3.2).
func (r reply) positive() bool { return r.code/100 == 2 }

// err returns r as an error.
func (r reply) err() error { return &textproto.Error{Code: r.code, Msg: r.text} }

// readReply parses a reply, RFC 5321 section 4.2.1. next returns its lines. A line inside a reply
// may lack its code, because some servers forget it. Another code is malformed: the replies
// of the server cannot be told apart any more.
func readReply(next func() ([]byte, error)) (reply, error) {
	var r reply
	for first := true; ; first = false {
		line, err := next()
		if err != nil {
			return reply{}, err
		}
		code, text, last, ok := parseLine(line)
		switch {
		case first && !ok, !first && ok && code != r.code:
			return reply{}, errReply
		case !ok:
			last, text = false, strings.TrimRight(string(line), "\r\n")
		}
		if !first {
			text = r.text + "\n" + text
		} else {
			r.code = code
		}
		r.text = text
		if last {
			return r, nil
		}
	}
}

// parseLine parses one line of a reply. ok is false if it does not begin with a code.
func parseLine(line []byte) (code int, text string, last, ok bool) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) < 4 || line[3] != ' ' && line[3] != '-' {
		return 0, "", false, false
	}
	if !isDigits(line[:3]) || line[0] == '0' {
		return 0, "", false, false
	}
	code = 100*int(line[0]-'0') + 10*int(line[1]-'0') + int(line[2]-'0')
	return code, string(line[4:]), line[3] == ' ', true
}

func isDigits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// SetDeadline does nothing: begin does.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing: begin does.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: begin does.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
