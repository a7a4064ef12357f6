package dev

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// startCatcher runs a catcher until the test ends, or stop is called.
func startCatcher(t *testing.T, logs *bytes.Buffer) (inbox *Inbox, address string, stop func() error) {
	t.Helper()
	l, err := bindTCP(-1)
	if err != nil {
		t.Fatal(err)
	}
	inbox = newInbox(newPulse())
	c := &catcher{inbox: inbox, logger: slog.New(slog.NewTextHandler(logs, nil)), now: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.serve(ctx, l) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { stop() })
	return inbox, l.Addr().String(), stop
}

func TestCatcherKeepsWhatItIsSent(t *testing.T) {
	var logs bytes.Buffer
	inbox, address, stop := startCatcher(t, &logs)
	c, err := smtp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 3 { // on one connection, as a pool does
		raw := fmt.Sprintf("From: =?utf-8?q?J=C3=BCrgen?= <j@evently.test>\r\nTo: ada@evently.test\r\nSubject: =?utf-8?q?Caf=C3=A9?= %d\r\n"+
			"Message-ID: <%d@evently.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"+
			"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nyour code is 31337=31; gr=FC=DFe\r\n"+
			"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>code</p>\r\n--b--\r\n", i, i)
		if err := c.SendMail("bounce@evently.test", []string{"ada@evently.test", "x@evently.test"}, strings.NewReader(raw)); err != nil {
			t.Fatalf("mail %d: %v", i, err)
		}
	}
	mails := inbox.all()
	if len(mails) != 3 {
		t.Fatalf("%d mails caught, want 3", len(mails))
	}
	m := mails[0] // the newest
	for name, pair := range map[string][2]string{
		"subject":    {m.Subject, "Café 2"},
		"from":       {m.From, "Jürgen <j@evently.test>"},
		"to":         {m.To, "ada@evently.test"},
		"message id": {m.MessageID, "<2@evently.test>"},
		"envelope":   {m.EnvelopeFrom + " " + strings.Join(m.EnvelopeTo, " "), "bounce@evently.test ada@evently.test x@evently.test"},
		"text":       {m.Text, "your code is 313371; grüße"},
		"html":       {m.HTML, "<p>code</p>"},
		"defect":     {m.Defect, ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
	if got := m.Headers[3].Name; got != "Message-ID" {
		t.Errorf("header name %q is not as it was sent", got)
	}
	// The connection is still open: a stop must not wait for it.
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if text := logs.String(); !strings.Contains(text, "mail caught") || strings.Contains(text, "31337") {
		t.Errorf("the log should tell of mails without their content:\n%s", text)
	}
}

func TestCatcherStopsWithASilentClient(t *testing.T) {
	_, address, stop := startCatcher(t, new(bytes.Buffer))
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 3)); err != nil { // the greeting: the session lives
		t.Fatal(err)
	}
	// A stop that waits for the client runs into its limit, and says so.
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestFaultyMailsAreShownWithTheirFault(t *testing.T) {
	for name, raw := range map[string]string{
		"no header":      "\r\n\r\nbody",
		"not a mail":     "\x00\xff no colon here\r\n",
		"open multipart": "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhalf",
		"bad base64":     "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n***",
		"strange":        "Content-Type: text/plain; charset=klingon\r\n\r\nqapla",
		"empty":          "",
	} {
		t.Run(name, func(t *testing.T) {
			m := readMail([]byte(raw))
			if string(m.Raw) != raw {
				t.Error("the source is not what was sent")
			}
			if m.Text == "" && m.HTML == "" && m.Defect == "" && strings.TrimSpace(raw) != "" {
				t.Error("neither content nor a word about what is wrong")
			}
		})
	}
}

func TestInboxMakesRoom(t *testing.T) {
	b := newInbox(newPulse())
	for range maxMails + 10 {
		b.add(&Mail{Raw: []byte("x")})
	}
	if got := len(b.all()); got != maxMails {
		t.Errorf("%d mails kept, want %d", got, maxMails)
	}
	if b.get(10) != nil || b.get(11) == nil || b.all()[0].ID != maxMails+10 {
		t.Error("not the oldest ones made room")
	}
	big := &Mail{Raw: make([]byte, maxInbox)}
	b.add(big)
	if all := b.all(); len(all) != 1 || all[0] != big {
		t.Errorf("%d mails beside one that fills the inbox", len(all)-1)
	}
}
