package command_test

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail/internal/command"
)

// spoken returns what the client of go-smtp says to a server with these extensions.
func spoken(t *testing.T, extensions []string, say func(*smtp.Client) error) string {
	t.Helper()
	here, there := net.Pipe()
	last := make(chan string, 1)
	go func() {
		defer there.Close()
		in := bufio.NewReader(there)
		var line string
		for reply := "220 hello\r\n"; ; {
			if _, err := there.Write([]byte(reply)); err != nil {
				break
			}
			var err error
			if line, err = in.ReadString('\n'); err != nil {
				break
			}
			reply = "250 ok\r\n"
			if strings.HasPrefix(line, "EHLO") {
				reply = "250-server\r\n"
				for _, e := range extensions {
					reply += "250-" + e + "\r\n"
				}
				reply += "250 HELP\r\n"
				continue
			}
			last <- strings.TrimRight(line, "\r\n")
		}
	}()
	defer here.Close()
	client := smtp.NewClient(here)
	if err := client.Hello("localhost"); err != nil {
		t.Fatal(err)
	}
	if err := say(client); err != nil {
		t.Fatal(err)
	}
	return <-last
}

// The commands are those of go-smtp's client for the same options.
func TestCommandsOfGoSMTP(t *testing.T) {
	t.Parallel()
	const address = "jane+x=y@example.com"
	for _, extensions := range [][]string{
		nil, {"SIZE 1000"}, {"8BITMIME"}, {"DSN"}, {"SMTPUTF8"}, {"SIZE", "8BITMIME", "DSN", "SMTPUTF8", "PIPELINING"},
	} {
		offered := func(name string) bool {
			return slices.ContainsFunc(extensions, func(e string) bool { return strings.Fields(e)[0] == name })
		}
		for _, o := range []smtp.MailOptions{
			{},
			{Size: 1234, Return: smtp.DSNReturnHeaders, EnvelopeID: "7e0f6cb2+4c55=a"},
			{Size: 1234, Return: smtp.DSNReturnFull, UTF8: offered("SMTPUTF8")},
		} {
			want := spoken(t, extensions, func(c *smtp.Client) error { return c.Mail(address, &o) })
			if got, err := command.Mail(offered, address, o); err != nil || got != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		}
		for _, o := range []smtp.RcptOptions{
			{},
			{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}},
			{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}, OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: address},
			{OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "jörg+x=y@xn--bcher-kva.example"},
		} {
			want := spoken(t, extensions, func(c *smtp.Client) error { return c.Rcpt(address, &o) })
			if got, err := command.Rcpt(offered, address, o); err != nil || !strings.EqualFold(got, want) {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		}
	}
}

// One command stays one command.
func TestNoLineEnds(t *testing.T) {
	t.Parallel()
	offered := func(string) bool { return true }
	for _, address := range []string{"a@b.example>\r\nRCPT TO:<c@d.example", "a\nb@example.com", "a\x00@example.com"} {
		if line, err := command.Mail(offered, address, smtp.MailOptions{}); err == nil {
			t.Errorf("MAIL: %q", line)
		}
		if line, err := command.Rcpt(offered, address, smtp.RcptOptions{}); err == nil {
			t.Errorf("RCPT: %q", line)
		}
		line, err := command.Mail(offered, "a@example.com", smtp.MailOptions{EnvelopeID: address})
		if err != nil || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("ENVID: %q, %v", line, err)
		}
	}
	if line, err := command.Mail(func(string) bool { return false }, "a@example.com", smtp.MailOptions{UTF8: true}); err == nil {
		t.Errorf("SMTPUTF8 is not offered: %q", line)
	}
}
