package smtptest_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/evently/workers/mail/smtptest"
)

// talk sends raw bytes and returns all that the server says until it closes.
func talk(t *testing.T, server *smtptest.Server, raw string) string {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

const smuggled = "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" +
	"one\r\n..\r\n\n.\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\ntwo\r\n.\r\nQUIT\r\n"

// The lenient server must fall for what the strict one sees through, or tests
// with it would prove nothing.
func TestLenientEnd(t *testing.T) {
	t.Parallel()
	for lenient, want := range map[bool]int{false: 1, true: 2} {
		server := smtptest.New(t, smtptest.Options{LenientEnd: lenient})
		talk(t, server, smuggled)
		mails := server.WaitMails(want)
		if len(mails) != want {
			t.Fatalf("lenient %v: %d mails", lenient, len(mails))
		}
		if first := mails[0]; first.From != "a@example.com" || first.To != "b@example.com" || !strings.HasPrefix(first.Text(), "one\n.\n") {
			t.Errorf("lenient %v: %+v", lenient, first)
		}
	}
}

func TestSequenceIsKept(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Username: "u", Password: "p"})
	said := talk(t, server, "RCPT TO:<b@example.com>\r\nDATA\r\nMAIL FROM:<a@example.com>\r\nAUTH PLAIN AHUAcA==\r\n"+
		"MAIL FROM:<a@example.com>\r\nMAIL FROM:<a@example.com>\r\nWHAT\r\nSTARTTLS\r\nQUIT\r\n")
	var codes []string
	for line := range strings.SplitSeq(strings.TrimSpace(said), "\r\n") {
		codes = append(codes, line[:3])
	}
	if got := strings.Join(codes, " "); got != "220 503 503 530 235 250 503 500 502 221" {
		t.Errorf("codes %s", got)
	}
	if len(server.Mails()) != 0 || strings.Contains(strings.Join(server.Commands(), " "), "AHUAcA") {
		t.Errorf("mails %v, commands %q", server.Mails(), server.Commands())
	}
}

func TestScript(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		switch s.Command {
		case "EHLO":
			return smtptest.Action{Reply: "250-a\r\n250 b"}
		case ".":
			return smtptest.Action{Reply: "451 4.3.0 no"}
		case "QUIT":
			return smtptest.Action{Then: smtptest.Close}
		}
		return smtptest.Action{}
	}})
	said := talk(t, server, "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n.\r\nQUIT\r\n")
	if !strings.Contains(said, "250-a\r\n250 b\r\n") || !strings.HasSuffix(said, "451 4.3.0 no\r\n") || len(server.Mails()) != 0 {
		t.Errorf("said %q, mails %v", said, server.Mails())
	}
}
