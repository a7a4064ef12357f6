package e2e_test

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-smtp"
)

// sink is an SMTP server that keeps every mail.
type sink struct {
	port string

	mu     sync.Mutex
	mails  []letter
	answer func(letter) error // to the end of a mail; nil takes all
}

// letter is one mail, envelope and content.
type letter struct {
	from string
	to   []string
	data []byte
}

func startSink(t testing.TB) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{}
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{sink: s}, nil }))
	server.Domain = "sink.test"
	server.ReadTimeout, server.WriteTimeout = 10*time.Second, 10*time.Second
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			t.Errorf("SMTP sink: %v", err)
		}
	})
	return s
}

// answers sets what the relay says to the end of a mail.
func (s *sink) answers(f func(letter) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// all returns the mails of one recipient, all mails when to is "".
func (s *sink) all(to string) []letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []letter
	for _, l := range s.mails {
		if to == "" || slices.Contains(l.to, to) {
			found = append(found, l)
		}
	}
	return found
}

// session is one connection of a client.
type session struct {
	sink   *sink
	letter letter
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.letter.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.to = append(s.letter.to, to)
	return nil
}

// errCutOff is for a mail whose client went away within its last chunk, which is how a mail is
// withheld. go-smtp takes the rest of a chunk for the whole.
var errCutOff = errors.New("the mail was cut off")

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.HasSuffix(data, []byte("\r\n")) {
		return errCutOff
	}
	s.letter.data = data
	s.sink.mu.Lock()
	answer := s.sink.answer
	s.sink.mu.Unlock()
	if answer != nil {
		if err := answer(s.letter); err != nil {
			return err
		}
	}
	s.sink.mu.Lock()
	s.sink.mails = append(s.sink.mails, s.letter)
	s.sink.mu.Unlock()
	s.letter = letter{}
	return nil
}

func (s *session) Reset()        { s.letter = letter{} }
func (s *session) Logout() error { return nil }

// read is a mail as its reader's program shows it.
type read struct {
	subject, from, to, messageID string
	text, html                   string
	order                        []string // content types of the parts, as they come
}

func (l letter) read(t testing.TB) read {
	t.Helper()
	r, err := mail.CreateReader(bytes.NewReader(l.data))
	if err != nil {
		t.Fatalf("parse a mail: %v\n%s", err, l.data)
	}
	defer r.Close()
	decode := func(key string) string {
		text, err := new(mime.WordDecoder).DecodeHeader(r.Header.Get(key))
		if err != nil {
			t.Errorf("header %s: %v", key, err)
		}
		return text
	}
	got := read{subject: decode("Subject"), from: decode("From"), to: decode("To"), messageID: r.Header.Get("Message-Id")}
	if media, _, err := r.Header.ContentType(); err != nil || media != "multipart/alternative" {
		t.Errorf("mail is %q (%v), want multipart/alternative", media, err)
	}
	for {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("parse a mail: %v", err)
		}
		body, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatalf("decode a part: %v", err)
		}
		media, _, _ := strings.Cut(part.Header.Get("Content-Type"), ";")
		got.order = append(got.order, media)
		switch media {
		case "text/plain":
			got.text = string(body)
		case "text/html":
			got.html = string(body)
		}
	}
}
