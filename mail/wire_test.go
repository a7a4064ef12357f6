package mail

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// said is a connection on which the server has said all that it will.
type said struct {
	net.Conn
	in io.Reader
}

func (s said) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s said) SetDeadline(time.Time) error      { return nil }
func (s said) SetWriteDeadline(time.Time) error { return nil }

// replies reads n replies of text.
func replies(text string, n int) (all []reply, err error) {
	w := newWire(said{in: strings.NewReader(text)}, "")
	for range n {
		r, err := w.reply(time.Minute)
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

func TestReadReply(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]reply{
		"250 ok\r\n":                                {250, "ok"},
		"250 ok\n":                                  {250, "ok"},
		"250\r\n":                                   {250, ""},
		"250 \r\n":                                  {250, ""},
		"250-one\r\n250-\r\n250 three\r\n":          {250, "one\n\nthree"},
		"250-one\r\n250\r\n":                        {250, "one\n"},
		"550-one\r\ntwo\r\n\r\n550 four\r\n":        {550, "one\ntwo\n\nfour"},
		"550-5.1.1 a\r\n550 5.1.1 b\r\n":            {550, "5.1.1 a\n5.1.1 b"},
		"250-2026-11-29\r\n2026 is it\r\n250 x\r\n": {250, "2026-11-29\n2026 is it\nx"},
		"999 what\r\n":                              {999, "what"},
	} {
		got, err := replies(text, 1)
		if err != nil || got[0] != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"":                                    io.EOF,
		"250":                                 io.EOF,
		"250-one\r\n":                         io.EOF,
		"all is well\r\n":                     errReply,
		"099 no code\r\n":                     errReply,
		"25 x\r\n":                            errReply,
		"2500 x\r\n":                          errReply,
		"250_x\r\n":                           errReply,
		" 250 x\r\n":                          errReply,
		"\r\n":                                errReply,
		"250-one\r\n550 two\r\n":              errReply, // accepted or refused?
		"550-one\r\n250 two\r\n":              errReply,
		"250-one\r\n550-two\r\n250 three\r\n": errReply,
		"250 " + strings.Repeat("x", 4000) + "\r\n":    errReplySize,
		strings.Repeat("250-x\r\n", 101) + "250 y\r\n": errReplySize,
	} {
		if got, err := replies(text, 1); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, %v, want %v", text, got, err, want)
		}
	}
	got, err := replies("250 a\r\n250-b\r\n250 c\r\n354 d\r\n250 e\r\n", 3)
	if err != nil || got[1].text != "b\nc" || got[2].code != 354 {
		t.Errorf("replies of a group: %v, %v", got, err)
	}
}

// Replies are bounded, they come from lines that are there, and the same octets make the same
// replies whether they come at once or one by one.
func FuzzReadReply(f *testing.F) {
	f.Add("250 ok\r\n250-a\r\n250 b\r\n354 go\r\n")
	f.Add("250-a\r\n550 b\r\n")
	f.Add("550-a\r\nno code\r\n550 b\r\n")
	f.Add("250")
	f.Add("\x00\xff\r\r\n250\n")
	f.Add(strings.Repeat("250-x\r\n", 101))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := replies(text, 4)
		for _, r := range got {
			if r.code < 100 || r.code > 999 || len(r.text) > maxReplyBytes || strings.Count(r.text, "\n") >= maxReplyLines {
				t.Errorf("code %d, %d octets", r.code, len(r.text))
			}
			for line := range strings.SplitSeq(r.text, "\n") {
				if !strings.Contains(text, strings.TrimSuffix(line, " ")) {
					t.Errorf("%q was not said", line)
				}
			}
		}
		if err == nil && len(got) != 4 {
			t.Errorf("%d replies", len(got))
		}
		slow := newWire(said{in: oneByOne{strings.NewReader(text)}}, "")
		for i, want := range got {
			if r, err := slow.reply(time.Minute); err != nil || r != want {
				t.Errorf("reply %d one by one: %v, %v, want %v", i, r, err, want)
			}
		}
	})
}

// oneByOne reads single octets.
type oneByOne struct{ io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(1, len(p))]) }

// What DATA doubles comes back as BDAT sends it.
func FuzzStuff(f *testing.F) {
	f.Add("Hello\r\n.\r\n..\r\n.x")
	f.Add(".\r\n")
	f.Add("\r\n.\r")
	f.Fuzz(func(t *testing.T, text string) {
		if checkLines([]byte(text)) != nil || text == "" {
			t.Skip("Compose makes no such mail")
		}
		wire := stuff([]byte(text))
		if n := bytes.Index(append([]byte("\r\n"), wire...), endOfData); n != len(wire)-len(endOfData)+2 {
			t.Errorf("the mail %q ends early: %q", text, wire)
		}
		var back []byte
		for line := range bytes.Lines(wire[:len(wire)-len(".\r\n")]) {
			back = append(back, bytes.TrimPrefix(line, []byte("."))...)
		}
		if chunked := chunk([]byte(text)); !bytes.HasSuffix(chunked, append([]byte(" LAST\r\n"), back...)) {
			t.Errorf("by DATA %q, by BDAT %q", back, chunked)
		}
	})
}
