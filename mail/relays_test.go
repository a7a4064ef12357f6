package mail_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// newRelays returns relays over one Sender for each server.
func newRelays(t testing.TB, servers ...*smtptest.Server) *mail.Relays {
	t.Helper()
	var all []mail.Relay
	for _, server := range servers {
		all = append(all, mail.Relay{Sender: newSender(t, config(server))})
	}
	relays, err := mail.NewRelays(all...)
	if err != nil {
		t.Fatal(err)
	}
	return relays
}

// scripted returns the options of a server with one scripted action.
func scripted(command string, action smtptest.Action) smtptest.Options {
	return smtptest.Options{Script: at(command, action)}
}

// A relay that can take no mails is passed over, at each step at which it may show that.
func TestFailover(t *testing.T) {
	t.Parallel()
	reply := func(command, text string) smtptest.Options { return scripted(command, smtptest.Action{Reply: text}) }
	tests := []struct {
		name string
		opts smtptest.Options
		edit func(*mail.Config)
	}{
		{name: "no TLS", opts: smtptest.Options{}, edit: func(c *mail.Config) { c.Security = mail.StartTLS }},
		{name: "certificate not trusted", opts: smtptest.Options{STARTTLS: true}, edit: func(c *mail.Config) { c.Security, c.RootCAs = mail.StartTLS, nil }},
		{name: "wrong password", opts: smtptest.Options{Username: "u", Password: "p"}, edit: func(c *mail.Config) { c.Username, c.Password = "u", "wrong" }},
		{name: "hangs up at once", opts: scripted("CONNECT", smtptest.Action{Then: smtptest.Close})},
		{name: "421 greeting", opts: reply("CONNECT", "421 4.3.2 down for maintenance")},
		{name: "554 greeting", opts: reply("CONNECT", "554 no service here")},
		{name: "421 at EHLO", opts: reply("EHLO", "421 4.7.0 too many connections")},
		{name: "login required", opts: reply("MAIL", "530 5.7.0 authentication required")},
		{name: "421 at MAIL", opts: reply("MAIL", "421 4.4.2 closing")},
		{name: "sender refused", opts: reply("MAIL", "553 5.7.1 <mail@evently.example>: Sender address rejected: not owned by user mailer")},
		{name: "relaying denied", opts: reply("RCPT", "554 5.7.1 <jane.roe@example.com>: Relay access denied")},
		{name: "quota", opts: reply("RCPT", "550 5.4.5 Daily user sending limit exceeded")},
		{name: "rate", opts: reply("RCPT", "450 4.7.1 Error: too much mail from 192.0.2.7")},
		{name: "421 at DATA", opts: reply("DATA", "421 4.3.0 overloaded")},
		{name: "RST at RCPT", opts: scripted("RCPT", smtptest.Action{Then: smtptest.Reset})},
		{name: "RST at DATA", opts: scripted("DATA", smtptest.Action{Then: smtptest.Reset})},
		{name: "freezes at MAIL", opts: scripted("MAIL", smtptest.Action{Then: smtptest.Freeze}), edit: func(c *mail.Config) { c.Timeouts.Command = 50 * time.Millisecond }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first, second := smtptest.New(t, tt.opts), smtptest.New(t, smtptest.Options{})
			cfg := config(first)
			if tt.edit != nil {
				tt.edit(&cfg)
			}
			relays, err := mail.NewRelays(mail.Relay{Sender: newSender(t, cfg)}, mail.Relay{Sender: newSender(t, config(second))})
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			m := message()
			m.BeforeFinal = func(context.Context) error { asked++; return nil }
			receipt, err := relays.Send(t.Context(), m)
			if err != nil {
				t.Fatalf("Send: %v", err)
			}
			got := second.WaitMails(1)[0]
			if receipt.Relay != second.Addr() || receipt.MessageID != header(t, got.Data, "Message-ID") || len(first.Mails()) != 0 || asked != 1 {
				t.Errorf("relay %q, Message-ID %q, first relay has %d mails, asked %d times", receipt.Relay, receipt.MessageID, len(first.Mails()), asked)
			}
			if len(receipt.Others) != 1 || receipt.Others[0].Relay != first.Addr() {
				t.Errorf("attempts at other relays: %v", receipt.Others)
			}
			status := relays.Status()
			if status[0].Name != first.Addr() || status[0].Fault == nil || status[0].Fault.Relay != first.Addr() || status[1].Fault != nil || status[1].Accepted.IsZero() {
				t.Errorf("status %+v", status)
			}

			// The faulty relay has a rest.
			before, _ := first.Connections()
			if _, err := relays.Send(t.Context(), message()); err != nil {
				t.Errorf("second mail: %v", err)
			}
			if after, _ := first.Connections(); after != before {
				t.Errorf("the faulty relay was dialled for the next mail")
			}
		})
	}
}

// A relay whose port is closed, and one whose name does not exist.
func TestFailoverWithoutServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).Port
	l.Close()
	server := smtptest.New(t, smtptest.Options{})
	gone, unknown := config(server), config(server)
	gone.Port = closed
	unknown.Host = "relay.invalid"
	relays, err := mail.NewRelays(mail.Relay{Sender: newSender(t, gone)}, mail.Relay{Sender: newSender(t, unknown)}, mail.Relay{Sender: newSender(t, config(server))})
	if err != nil {
		t.Fatal(err)
	}
	m := message()
	m.Date = time.Time{}
	if _, err := relays.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	server.WaitMails(1)
	server.Stop()
	_, err = relays.Send(t.Context(), message())
	if failed := sendError(t, err); failed.Command != "DIAL" || failed.Relay != server.Addr() {
		t.Errorf("without any relay: %v at %s, want the failure of the one that worked last", err, failed.Relay)
	}
}

// The refusal of a mail or its recipient, and every end of data that was sent, are final:
// a second relay would send the refused mail, or send it twice.
func TestNoFailover(t *testing.T) {
	t.Parallel()
	reply := func(command, text string) smtptest.Options { return scripted(command, smtptest.Action{Reply: text}) }
	for name, opts := range map[string]smtptest.Options{
		"unknown recipient":   reply("RCPT", "550 5.1.1 no such user"),
		"greylisting":         reply("RCPT", "451 4.7.1 Greylisting in action"),
		"policy":              reply("RCPT", "554 5.7.1 <jane.roe@example.com>: Recipient address rejected: Access denied"),
		"full mailbox":        reply("RCPT", "452 4.2.2 mailbox full"),
		"content at DATA":     reply("DATA", "554 5.6.0 no"),
		"content after dot":   reply(".", "554 5.7.1 Spam message rejected"),
		"421 after the dot":   reply(".", "421 4.3.0 overloaded"),
		"quota after the dot": reply(".", "452 4.5.3 daily quota exceeded"),
		"no reply to the dot": scripted(".", smtptest.Action{Then: smtptest.Reset}),
		"nonsense after dot":  reply(".", "999 what"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := smtptest.New(t, opts), smtptest.New(t, smtptest.Options{})
			_, err := newRelays(t, first, second).Send(t.Context(), message())
			if failed := sendError(t, err); failed.Relay != first.Addr() {
				t.Errorf("%v of %s", err, failed.Relay)
			}
			if n, _ := second.Connections(); n != 0 {
				t.Errorf("the second relay was dialled after %v", err)
			}
		})
	}
}

// A mail that is withheld goes to no other relay, and a mail whose context has ended is not
// tried elsewhere.
func TestNoFailoverAfterTheEnd(t *testing.T) {
	t.Parallel()
	errLost := errors.New("lost")
	first, second := smtptest.New(t, smtptest.Options{}), smtptest.New(t, smtptest.Options{})
	asked := 0
	m := message()
	m.BeforeFinal = func(context.Context) error { asked++; return errLost }
	if _, err := newRelays(t, first, second).Send(t.Context(), m); !errors.Is(err, errLost) || !errors.Is(err, mail.ErrWithheld) || asked != 1 {
		t.Errorf("withheld: %v, asked %d times", err, asked)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	frozen := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "RCPT" {
			cancel(errLost)
			return smtptest.Action{Then: smtptest.Freeze}
		}
		return smtptest.Action{}
	}})
	if _, err := newRelays(t, frozen, second).Send(ctx, message()); !errors.Is(err, errLost) {
		t.Errorf("cancelled: %v", err)
	}
	limited, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	relays := newRelays(t, smtptest.New(t, scripted("MAIL", smtptest.Action{Then: smtptest.Freeze})), second)
	if _, err := relays.Send(limited, message()); !errors.Is(err, context.DeadlineExceeded) || relays.Status()[1].Fault != nil {
		t.Errorf("out of time: %v; status of the second relay %+v", err, relays.Status()[1])
	}
	if n, _ := second.Connections(); n != 0 {
		t.Error("the second relay was dialled")
	}
}

// The question before the end of data is asked once, also if the relay breaks off meanwhile.
func TestNoFailoverAfterTheQuestion(t *testing.T) {
	t.Parallel()
	first, second := smtptest.New(t, smtptest.Options{}), smtptest.New(t, smtptest.Options{})
	asked := 0
	m := message()
	m.BeforeFinal = func(context.Context) error {
		asked++
		first.Say("", smtptest.Reset)
		first.Wait("the reset", func() bool { _, open := first.Connections(); return open == 0 })
		time.Sleep(20 * time.Millisecond) // for the reset to arrive here
		return nil
	}
	_, err := newRelays(t, first, second).Send(t.Context(), m)
	if failed := sendError(t, err); asked != 1 || failed.Relay != first.Addr() {
		t.Errorf("asked %d times, %v", asked, err)
	}
	if n, _ := second.Connections(); n != 0 {
		t.Errorf("the second relay was dialled after %v", err)
	}
}

// A relay that lacks an extension does not decide for the others.
func TestFailoverToAnExtension(t *testing.T) {
	t.Parallel()
	small := smtptest.New(t, smtptest.Options{Extensions: []string{"SIZE 500", "SMTPUTF8"}})
	ascii := smtptest.New(t, smtptest.Options{})
	both := smtptest.New(t, smtptest.Options{Extensions: []string{"SIZE 100000", "SMTPUTF8"}})
	m := message()
	m.To = "jörg@example.com"
	receipt, err := newRelays(t, ascii, small, both).Send(t.Context(), m)
	if err != nil || receipt.Relay != both.Addr() {
		t.Errorf("relay %q, %v", receipt.Relay, err)
	}
	_, err = newRelays(t, ascii, small).Send(t.Context(), m)
	if failed := sendError(t, err); failed.EnhancedCode != [3]int{5, 6, 7} || failed.Retryable() || failed.AddressFault() || failed.ConfigurationFault() || !strings.Contains(failed.Explain(), "SMTPUTF8") {
		t.Errorf("without the extension anywhere: %v, want the refusal of the first", err)
	}
	open, err := mail.NewRelays(
		mail.Relay{Sender: newSender(t, config(both)), Breaker: &closedFor{open: &openError{"both"}}},
		mail.Relay{Sender: newSender(t, config(ascii))},
	)
	if err != nil {
		t.Fatal(err)
	}
	_, err = open.Send(t.Context(), m)
	if failed := sendError(t, err); failed.Command != "WAIT" || failed.Relay != ascii.Addr() || !failed.Retryable() || failed.CountsForBreaker() ||
		!strings.Contains(err.Error(), "both is open") || !strings.Contains(err.Error(), "SMTPUTF8") {
		t.Errorf("while the only relay with the extension is open: %v", err)
	}
	down := smtptest.New(t, scripted("CONNECT", smtptest.Action{Reply: "421 later"}))
	_, err = newRelays(t, ascii, down).Send(t.Context(), m)
	if failed := sendError(t, err); failed.Code != 421 || !failed.Retryable() {
		t.Errorf("beside a relay that is down: %v, want a failure that is retried", err)
	}
}

// closedFor is a breaker that refuses while it is set.
type closedFor struct {
	open     error
	entered  int
	outcomes []*mail.SendError
}

func (b *closedFor) Enter() (func(*mail.SendError), error) {
	if b.open != nil {
		return nil, b.open
	}
	b.entered++
	return func(failed *mail.SendError) { b.outcomes = append(b.outcomes, failed) }, nil
}

type openError struct{ name string }

func (e *openError) Error() string { return e.name + " is open" }

// An open relay is not dialled, and each attempt tells its outcome once.
func TestBreakers(t *testing.T) {
	t.Parallel()
	first, second := smtptest.New(t, scripted("MAIL", smtptest.Action{Reply: "421 4.3.2 later"})), smtptest.New(t, smtptest.Options{})
	one, two := &closedFor{}, &closedFor{}
	relays, err := mail.NewRelays(
		mail.Relay{Sender: newSender(t, config(first)), Breaker: one},
		mail.Relay{Sender: newSender(t, config(second)), Breaker: two},
	)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // there is no rest beside a breaker
		if _, err := relays.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
	}
	if len(one.outcomes) != 2 || one.outcomes[0] == nil || !one.outcomes[0].CountsForBreaker() || fmt.Sprint(two.outcomes) != "[<nil> <nil>]" {
		t.Errorf("outcomes %v and %v", one.outcomes, two.outcomes)
	}
	one.open = &openError{"first"}
	dialled, _ := first.Connections()
	if _, err := relays.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
	two.open = &openError{"second"}
	_, err = relays.Send(t.Context(), message())
	open, ok := errors.AsType[*openError](err)
	if failed := sendError(t, err); !ok || open.name != "first" || failed.Command != "WAIT" || !failed.Retryable() || failed.CountsForBreaker() || !strings.Contains(err.Error(), "second is open") {
		t.Errorf("all open: %v", err)
	}
	if n, _ := first.Connections(); n != dialled || two.entered != 3 || len(second.Mails()) != 3 {
		t.Errorf("first dialled %d times more, second entered %d times with %d mails", n-dialled, two.entered, len(second.Mails()))
	}
}

// One relay alone is tried for every mail, as a Sender is.
func TestOneRelay(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, scripted("MAIL", smtptest.Action{Reply: "421 4.3.2 later"}))
	relays := newRelays(t, server)
	for i := range 3 {
		_, err := relays.Send(t.Context(), message())
		if failed := sendError(t, err); failed.Code != 421 {
			t.Error(err)
		}
		if n, _ := server.Connections(); n != i+1 {
			t.Errorf("%d connections after %d mails", n, i+1)
		}
	}
}

func TestRelaysMustAgree(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{})
	other := config(server)
	other.FromAddress = "other@evently.example"
	if _, err := mail.NewRelays(mail.Relay{Sender: newSender(t, config(server))}, mail.Relay{Sender: newSender(t, other)}); err == nil {
		t.Error("two senders")
	}
	if _, err := mail.NewRelays(); err == nil {
		t.Error("no relay")
	}
	if _, err := mail.NewRelays(mail.Relay{}); err == nil {
		t.Error("no sender")
	}
}

// A ping shows that the relay can be used, and says so to the health.
func TestPing(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	server := smtptest.New(t, smtptest.Options{Username: "u", Password: "p", Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "CONNECT" && down.Load() {
			return smtptest.Action{Reply: "421 4.3.2 down"}
		}
		return smtptest.Action{}
	}})
	cfg := config(server)
	cfg.Username, cfg.Password = "u", "p"
	sender := newSender(t, cfg)
	stop := run(t, sender)
	defer stop()
	down.Store(true)
	_, err := sender.Send(t.Context(), message())
	if sendError(t, err).Code != 421 || sender.Status().Fault == nil {
		t.Errorf("down: %v, status %+v", err, sender.Status())
	}
	if err := sender.Ping(t.Context()); sendError(t, err).Code != 421 {
		t.Errorf("ping: %v", err)
	}
	down.Store(false)
	if err := sender.Ping(t.Context()); err != nil || sender.Status().Fault != nil {
		t.Errorf("ping: %v, status %+v", err, sender.Status())
	}
	server.Wait("NOOP after AUTH", func() bool {
		return slices.Contains(server.Commands(), "NOOP") && slices.Contains(server.Commands(), "AUTH PLAIN")
	})
	if _, err := sender.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
	cfg.Password = "wrong"
	sender = newSender(t, cfg)
	if err := sender.Ping(t.Context()); !sendError(t, err).ConfigurationFault() || sender.Status().Fault == nil {
		t.Errorf("wrong password: %v, status %+v", err, sender.Status())
	}
}
