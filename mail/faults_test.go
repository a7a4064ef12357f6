package mail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// verdict is what a caller learns of a failure: a letter for each method that
// says yes. r: Retryable, u: Unknown, a: AddressFault, c: ConfigurationFault,
// q: Quota, t: Throttled, b: CountsForBreaker.
func verdict(e *mail.SendError) string {
	var v strings.Builder
	for _, q := range []struct {
		letter string
		yes    bool
	}{
		{"r", e.Retryable()}, {"u", e.Unknown()}, {"a", e.AddressFault()},
		{"c", e.ConfigurationFault()}, {"q", e.Quota()}, {"t", e.Throttled()}, {"b", e.CountsForBreaker()},
	} {
		if q.yes {
			v.WriteString(q.letter)
		}
	}
	return v.String()
}

// The whole table of stages and replies, against a server that gives them.
func TestReplies(t *testing.T) { eachWay(t, testReplies) }

func testReplies(t *testing.T, w way) {
	t.Parallel()
	tests := []struct {
		command string
		reply   string
		verdict string
	}{
		{"CONNECT", "421 4.3.2 too busy", "rtb"},
		{"CONNECT", "450 4.3.2 later", "rtb"},
		{"CONNECT", "554 5.7.1 we do not like you", "rcb"},
		{"EHLO", "421 4.3.2 too busy", "rtb"},
		{"EHLO", "451 4.3.2 later", "rtb"},
		{"EHLO", "550 5.7.1 bad name", "rcb"},
		{"STARTTLS", "454 4.7.0 no randomness", "rtb"},
		{"STARTTLS", "502 5.5.1 unknown", "rcb"},
		{"AUTH", "421 4.7.0 too many logins", "rtb"},
		{"AUTH", "454 4.7.0 temporary authentication failure", "rtb"},
		{"AUTH", "530 5.7.0 must issue STARTTLS", "rcb"},
		{"AUTH", "534 5.7.9 use an application password", "rcb"},
		{"AUTH", "535 5.7.8 wrong password", "rcb"},
		{"AUTH", "538 5.7.11 encryption required", "rcb"},
		{"AUTH", "500 5.5.2 syntax", "rcb"},
		{"MAIL", "421 4.7.0 slow down", "rtb"},
		{"MAIL", "451 4.7.1 greylisted", "r"},
		{"MAIL", "452 4.3.1 disk full", "r"},
		{"MAIL", "530 5.7.0 authentication required", "rcb"},
		{"MAIL", "535 5.7.8 not logged in", "rcb"},
		{"MAIL", "550 5.7.60 not allowed to send as this", "rcb"},
		{"MAIL", "553 5.1.8 sender domain not found", "rcb"},
		{"MAIL", "501 5.1.7 bad sender", "rcb"},
		{"MAIL", "550 5.4.5 daily sending quota exceeded", "rqb"},
		{"MAIL", "552 5.3.4 too big", ""},
		{"MAIL", "553 5.6.7 no SMTPUTF8", ""},
		{"RCPT", "421 4.7.0 slow down", "rtb"},
		{"RCPT", "450 4.2.1 mailbox busy", "r"},
		{"RCPT", "450 4.7.1 greylisted", "r"},
		{"RCPT", "452 4.2.2 over quota", "r"},
		{"RCPT", "450 no enhanced code", "r"},
		{"RCPT", "530 5.7.0 authentication required", "rcb"},
		{"RCPT", "550 5.1.1 no such user", "a"},
		{"RCPT", "550 5.1.2 no such domain", "a"},
		{"RCPT", "501 5.1.3 bad syntax", "a"},
		{"RCPT", "550 5.1.6 moved", "a"},
		{"RCPT", "550 5.1.10 not found", "a"},
		{"RCPT", "550 5.2.1 disabled", "a"},
		{"RCPT", "550 no such user", "a"},
		{"RCPT", "551 user not local", "a"},
		{"RCPT", "553 bad name", "a"},
		{"RCPT", "552 5.2.2 mailbox full", ""},
		{"RCPT", "550 5.7.1 policy", "r"},
		{"RCPT", "550 5.7.26 unauthenticated", "rcb"},
		{"RCPT", "550 5.4.5 daily sending quota exceeded", "rqb"},
		{"RCPT", "550 4.1.1 classes that differ", "a"}, // the basic code counts, as if it stood alone
		{"DATA", "421 4.7.0 slow down", "rtb"},
		{"DATA", "451 4.7.1 later", "r"},
		{"DATA", "454 Throttling failure: maximum sending rate exceeded", "rtb"},
		{"DATA", "554 5.5.1 no valid recipients", "a"},
		{"DATA", "503 5.5.1 bad sequence", "r"},
		{"DATA", "250 2.0.0 what was the question", "rb"},
		{"BODY", "", "rb"},
		{".", "421 4.3.0 going down", "rb"},
		{".", "451 4.3.0 error in processing", "r"},
		{".", "452 4.3.1 disk full", "r"},
		{".", "550 5.7.1 spam", ""},
		{".", "550 5.1.1 no such user, known late", "a"},
		{".", "550 5.4.5 daily sending quota exceeded", "rqb"},
		{".", "552 5.3.4 too big", ""},
		{".", "554 5.6.0 bad content", ""},
		{".", "354 still listening", "ub"},
		{".", "all is well", "ub"},
	}
	for _, tt := range tests {
		if w.name == "chunked" && tt.command == "DATA" && tt.reply[0] == '2' {
			continue // the first chunk is accepted
		}
		t.Run(tt.command+" "+tt.reply, func(t *testing.T) {
			t.Parallel()
			action := smtptest.Action{Reply: tt.reply}
			if tt.command == "BODY" {
				action.Then = smtptest.Reset
			}
			opts := smtptest.Options{Script: at(tt.command, action)}
			secured := tt.command == "STARTTLS" || tt.command == "AUTH"
			if secured {
				opts.STARTTLS, opts.Username, opts.Password = true, "evently", canaryPassword
			}
			server := smtptest.New(t, w.in(opts))
			cfg := config(server)
			if secured {
				cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
			}
			m := message()
			if tt.command == "BODY" {
				m = big(m) // or all of it is in the socket's buffer before the reset
			}
			_, err := newSender(t, cfg).Send(t.Context(), m)
			failed := sendError(t, err)
			command := tt.command
			if command == "CONNECT" {
				command = "GREETING"
			}
			letters := tt.verdict
			if tt.command == "BODY" && failed.Command == "." {
				command, letters = ".", "ub" // the reset came after all was out
			}
			if got := verdict(failed); failed.Command != command || got != letters {
				t.Errorf("%q at %s: verdict %q, want %q", err, failed.Command, got, letters)
			}
			if n := len(server.Mails()); n != 0 {
				t.Errorf("%d mails accepted", n)
			}
			want := 1
			if w.name != "DATA" && tt.command == "DATA" && (tt.reply[0] == '2' || tt.reply[:3] == "503") {
				want = 2 // the server may not be able to do what it offers
			}
			if accepted, _ := server.Connections(); accepted != want {
				t.Errorf("%d connections for one mail", accepted)
			}
			if err := notIn(err.Error()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A server that breaks off, or stops, at any point. After the end of data the
// outcome is unknown; before it, sending again is safe. All of it ends in time.
func TestBreakdowns(t *testing.T) { eachWay(t, testBreakdowns) }

func testBreakdowns(t *testing.T, w way) {
	t.Parallel()
	commands := []string{"CONNECT", "EHLO", "STARTTLS", "TLS", "AUTH", "MAIL", "RCPT", "DATA", "BODY", "."}
	for _, command := range commands {
		for name, action := range map[string]smtptest.Action{
			"FIN":     {Then: smtptest.Close},
			"RST":     {Then: smtptest.Reset},
			"freeze":  {Then: smtptest.Freeze},
			"trickle": {Then: smtptest.Trickle},
			"flood":   {Reply: strings.Repeat("250-more\r\n", 500) + "250 enough"},
			"long":    {Reply: "250 " + strings.Repeat("x", 100_000)},
			"NUL":     {Reply: "\x00\x00\x00"},
		} {
			if action.Reply != "" && (command == "TLS" || command == "BODY") {
				continue // no replies there
			}
			t.Run(command+" "+name, func(t *testing.T) {
				t.Parallel()
				server := smtptest.New(t, w.in(smtptest.Options{
					STARTTLS: true, Username: "evently", Password: canaryPassword, Script: at(command, action),
				}))
				cfg := config(server)
				cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
				if name == "freeze" || name == "trickle" {
					shorten(&cfg.Timeouts, command)
				}
				// Without any deadline here: the sender has its own.
				_, err := newSender(t, cfg).Send(context.Background(), big(message()))
				failed := sendError(t, err)
				want := map[string]string{"CONNECT": "GREETING"}[command]
				if want == "" {
					want = command
				}
				v := "rb"
				if want == "GREETING" && failed.Command == "DIAL" {
					want = "DIAL" // the reset overtook the end of the handshake
				}
				if w.gather && (want == "RCPT" || want == "DATA") && failed.Command == "MAIL" {
					want = "MAIL" // the server kept its reply for the next one
				}
				if want == "BODY" && failed.Command == "." {
					want = "." // the socket's buffer had room for all
				}
				if want == "." {
					v = "ub"
				}
				if got := verdict(failed); failed.Command != want || got != v {
					t.Errorf("%v at %s: verdict %q, want %q", err, failed.Command, got, v)
				}
				if action.Then == smtptest.Freeze && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v is no timeout", err)
				}
				if command != "." && len(server.Mails()) != 0 {
					t.Error("a mail was delivered")
				}
				most := 1
				if command == "CONNECT" && name == "freeze" {
					most = 2 // a silent server is asked whether it waits for TLS
				}
				if accepted, _ := server.Connections(); accepted > most {
					t.Errorf("%d connections for one mail", accepted)
				}
				if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\x00\r\n") {
					t.Errorf("error text %q", err)
				}
			})
		}
	}
}

// shorten gives the step that hangs a deadline which the others could not
// always hold on a busy machine.
func shorten(t *mail.Timeouts, command string) {
	const short = 400 * time.Millisecond
	switch command {
	case "CONNECT":
		t.Greeting = short
	case "TLS":
		t.TLS = short
	case "BODY", ".":
		t.BodyWrite, t.Final = short, short
	default:
		t.Command = short
	}
}

// A fault after the 250 does not undo it.
func TestAcceptedIsAccepted(t *testing.T) { eachWay(t, testAcceptedIsAccepted) }

func testAcceptedIsAccepted(t *testing.T, w way) {
	t.Parallel()
	for name, tt := range map[string]struct {
		command string
		action  smtptest.Action
	}{
		"250 and RST":                 {".", smtptest.Action{Reply: "250 2.0.0 ok", Then: smtptest.Reset}},
		"250 and FIN":                 {".", smtptest.Action{Reply: "250 2.0.0 ok", Then: smtptest.Close}},
		"250 and silence":             {".", smtptest.Action{Reply: "250 2.0.0 ok", Then: smtptest.Freeze}},
		"250 and 421 glued to it":     {".", smtptest.Action{Reply: "250 2.0.0 ok\r\n421 4.3.2 bye", Then: smtptest.Close}},
		"another 2yz":                 {".", smtptest.Action{Reply: "251 2.0.0 forwarded"}},
		"another 2yz, no enhanced":    {".", smtptest.Action{Reply: "200"}},
		"several lines":               {".", smtptest.Action{Reply: "250-2.0.0 ok\r\n250 2.0.0 queued"}},
		"RSET fails":                  {"RSET", smtptest.Action{Reply: "500 5.5.1 no"}},
		"RSET closes":                 {"RSET", smtptest.Action{Then: smtptest.Reset}},
		"QUIT fails":                  {"QUIT", smtptest.Action{Reply: "500 5.5.1 no"}},
		"QUIT closes":                 {"QUIT", smtptest.Action{Then: smtptest.Reset}},
		"QUIT is never answered":      {"QUIT", smtptest.Action{Then: smtptest.Freeze}},
		"QUIT is answered for ever":   {"QUIT", smtptest.Action{Then: smtptest.Trickle}},
		"MAIL and RCPT with odd 2yz":  {"MAIL", smtptest.Action{Reply: "253 2.5.0 ok"}},
		"RCPT 251":                    {"RCPT", smtptest.Action{Reply: "251 2.1.5 will forward"}},
		"RCPT 252, without any words": {"RCPT", smtptest.Action{Reply: "252"}},
	} {
		for _, pooled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, pooled %v", name, pooled), func(t *testing.T) {
				t.Parallel()
				server := smtptest.New(t, w.in(smtptest.Options{Script: at(tt.command, tt.action)}))
				cfg := config(server)
				cfg.Timeouts.Quit = 50 * time.Millisecond
				if tt.action.Then == smtptest.Freeze {
					cfg.Timeouts.Command = 500 * time.Millisecond
				}
				sender := newSender(t, cfg)
				if pooled {
					run(t, sender)
				}
				for i := range 3 {
					if _, err := sender.Send(t.Context(), message()); err != nil {
						t.Fatalf("mail %d: %v", i, err)
					}
				}
				if n := len(server.WaitMails(3)); n != 3 {
					t.Errorf("%d mails for 3", n)
				}
			})
		}
	}
}

// big is more than one write of the client's buffer.
func big(m mail.Message) mail.Message {
	m.Text += strings.Repeat("All work and no play makes Jack a dull boy.\n", 500)
	return m
}

// notIn looks for what must never stand in an error.
func notIn(text string) error {
	for _, secret := range []string{canaryCode, canaryPassword, recipient, "Jane"} {
		if strings.Contains(text, secret) {
			return fmt.Errorf("%q in %q", secret, text)
		}
	}
	return nil
}
