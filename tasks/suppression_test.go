package tasks_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// suppressed answers questions about addresses.
type suppressed struct {
	found *suppressions.Suppression
	err   error

	mu    sync.Mutex
	asked []suppressions.Question
}

func (s *suppressed) Check(_ context.Context, q suppressions.Question) (*suppressions.Suppression, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, q)
	return s.found, s.err
}

// A mail to a suppressed address is not sent, and the producer learns the reason.
func TestSuppressedMail(t *testing.T) {
	found := &suppressions.Suppression{Class: suppressions.BadAddress, First: time.Date(2026, 11, 29, 9, 30, 0, 0, time.UTC), Address: "ada@example.com", Diagnostic: "no such user here"}
	const why = "bad_address since 2026-11-29 09:30 UTC"
	for kind, user := range map[string]string{"otp": "", "booking": `,"user_id":42`} {
		w := new(watcher)
		b := newBench(t, func(c *tasks.Config) {
			withLedger(t)(c)
			c.Suppressions, c.Observer = &suppressed{found: found}, w
		})
		o := workertest.Run(t, b.Definitions(), unsureCall(kind))
		if o.State != protocol.StateSuccess || o.DeadLetter != "" {
			t.Errorf("%s: state %s, dead letter %q", kind, o.State, o.DeadLetter)
		}
		want := `{"success":false,"error":"recipient address is suppressed: ` + why + `"` + user + `,"timestamp":"` + stamp + `"}`
		if got := keys(t, o.Result); got != want {
			t.Errorf("%s: result %s, want %s", kind, got, want)
		}
		all := events(t, o)
		if len(all) != 1 || summary(all[0]) != "suppressed suppression 0 bad_address "+why || all[0].Recipient.Hash == nil {
			t.Errorf("%s: events %+v", kind, all)
		}
		if len(b.out.sent) != 0 || len(w.ended) != 1 || !strings.Contains(w.ended[0], `suppressed "bad_address" final=true`) {
			t.Errorf("%s: %d mails were sent; the observer was told %q", kind, len(b.out.sent), w.ended)
		}
		if _, err := b.run(t.Context(), oneOfEach()["welcome"]); err != nil || len(b.out.sent) != 0 {
			t.Errorf("%s: a welcome is sent: %v", kind, err)
		}
		if log := b.logs.String(); !strings.Contains(log, "address is suppressed") || strings.Contains(log, "@example.com") || strings.Contains(log, "no such user") {
			t.Errorf("%s: log %s", kind, log)
		}
	}
}

// A question that cannot be answered keeps no mail from its reader, and is counted.
func TestUncheckedMail(t *testing.T) {
	for kind := range oneOfEach() {
		w := new(watcher)
		b := newBench(t, func(c *tasks.Config) {
			c.Suppressions, c.Observer = &suppressed{err: errors.New("database is down")}, w
		})
		if _, err := b.run(t.Context(), oneOfEach()[kind]); err != nil || len(b.out.sent) != 1 || !slices.Contains(w.ended, "unchecked") {
			t.Errorf("%s: %v, %d mails, the observer was told %q", kind, err, len(b.out.sent), w.ended)
		}
	}
}

// The question has the address that the mail goes to, and says what kind of mail it is.
func TestQuestionOfSuppression(t *testing.T) {
	optional := map[string]bool{}
	for _, m := range tasks.Mails() {
		optional[m.Name] = m.Optional
	}
	for kind, task := range oneOfEach() {
		s := new(suppressed)
		b := newBench(t, func(c *tasks.Config) { c.Suppressions = s })
		if _, err := b.run(t.Context(), task); err != nil || len(s.asked) != 1 || len(b.out.sent) != 1 {
			t.Errorf("%s: %v, asked %+v", kind, err, s.asked)
			continue
		}
		name := task.Name[strings.LastIndexByte(task.Name, '.')+1:]
		if q := s.asked[0]; q.Address != b.out.sent[0].To || q.Code != (name == tasks.NameOTP) || q.Optional != optional[name] {
			t.Errorf("%s: asked %+v", kind, q)
		}
	}
	if optional[tasks.NameOTP] || optional[tasks.NameBookingConfirmation] || !optional[tasks.NameWelcome] {
		t.Errorf("optional mails: %v", optional)
	}
}

// A mail that may have been delivered is not called suppressed: its copy is sent.
func TestCopyIsNotSuppressed(t *testing.T) {
	s := &suppressed{found: &suppressions.Suppression{Class: suppressions.BadAddress}}
	b := newBench(t, func(c *tasks.Config) { c.Suppressions = s })
	_, err := b.run(t.Context(), with(oneOfEach()["otp"], worker.TimeHeader("evently_unsure", now.Add(-time.Minute))))
	if err != nil || len(b.out.sent) != 1 || len(s.asked) != 0 {
		t.Errorf("%v, %d mails, asked %+v", err, len(b.out.sent), s.asked)
	}
}

// Only a reply about the address is evidence that may suppress it.
func TestFaultOfAddress(t *testing.T) {
	reply := func(command string, code int, enhanced [3]int, text string) *mail.SendError {
		return &mail.SendError{Command: command, Relay: "relay:25", Code: code, EnhancedCode: enhanced, Text: text}
	}
	many := reply("RCPT", 550, [3]int{5, 1, 1}, "no such user")
	many.Recipients = 5
	grey := reply("RCPT", 450, [3]int{4, 2, 2}, "mailbox full")
	grey.Greylisted = true
	for name, test := range map[string]struct {
		e    *mail.SendError
		want suppressions.Class
	}{
		"no such user":                      {reply("RCPT", 550, [3]int{5, 1, 1}, "no such user"), suppressions.BadAddress},
		"no words":                          {reply("RCPT", 550, [3]int{5, 1, 1}, ""), suppressions.BadAddress},
		"syntax":                            {reply("RCPT", 553, [3]int{5, 1, 3}, "bad recipient address syntax"), suppressions.BadAddress},
		"moved":                             {reply("RCPT", 551, [3]int{5, 1, 6}, "user has moved"), suppressions.BadAddress},
		"Exchange":                          {reply("RCPT", 550, [3]int{5, 1, 10}, "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"), suppressions.BadAddress},
		"disabled":                          {reply("RCPT", 550, [3]int{5, 2, 1}, "the email account that you tried to reach is disabled"), suppressions.BadAddress},
		"at the end of the mail":            {reply(".", 550, [3]int{5, 1, 1}, "no such user"), suppressions.BadAddress},
		"too fast for one mailbox":          {reply("RCPT", 550, [3]int{5, 2, 1}, "The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered"), ""},
		"bad domain":                        {reply("RCPT", 550, [3]int{5, 1, 2}, "domain not found"), suppressions.BadDomain},
		"no host":                           {reply("RCPT", 550, [3]int{5, 4, 4}, "unable to route: no mail hosts for domain"), suppressions.BadDomain},
		"domain, for now":                   {reply("RCPT", 450, [3]int{4, 1, 2}, "domain not found"), ""},
		"full":                              {reply("RCPT", 552, [3]int{5, 2, 2}, "mailbox full"), suppressions.MailboxFull},
		"full, for now":                     {reply("RCPT", 452, [3]int{4, 2, 2}, "mailbox full"), suppressions.MailboxFull},
		"full at the end":                   {reply(".", 552, [3]int{5, 2, 2}, "mailbox full"), suppressions.MailboxFull},
		"full, greylisted":                  {grey, ""},
		"too big":                           {reply(".", 552, [3]int{5, 2, 3}, "message too large"), ""},
		"too big for the system":            {reply(".", 552, [3]int{5, 3, 4}, "message too big for system"), ""},
		"no code, no such user":             {reply("RCPT", 550, [3]int{}, "no such user"), suppressions.Unknown},
		"no code, no words":                 {reply("RCPT", 550, [3]int{}, ""), suppressions.Unknown},
		"no code at the end":                {reply(".", 550, [3]int{}, "no such user"), ""},
		"no code, spam":                     {reply("RCPT", 550, [3]int{}, "message looks like spam"), ""},
		"no code, blocked":                  {reply("RCPT", 550, [3]int{}, "blocked, see https://www.spamhaus.org/query"), ""},
		"no code, relaying":                 {reply("RCPT", 550, [3]int{}, "relaying denied"), ""},
		"policy":                            {reply("RCPT", 550, [3]int{5, 7, 1}, "delivery not authorized"), ""},
		"policy, with words of the address": {reply("RCPT", 550, [3]int{5, 7, 1}, "no such user"), ""},
		"reputation":                        {reply("RCPT", 554, [3]int{5, 7, 1}, "your IP address has a bad reputation"), ""},
		"DMARC":                             {reply(".", 550, [3]int{5, 7, 26}, "unauthenticated email is not accepted due to DMARC policy"), ""},
		"spam":                              {reply(".", 554, [3]int{5, 6, 0}, "message content rejected as spam"), ""},
		"sender":                            {reply("MAIL", 550, [3]int{5, 1, 1}, "sender unknown"), ""},
		"sender at RCPT":                    {reply("RCPT", 550, [3]int{5, 1, 8}, "sender address rejected: domain not found"), ""},
		"sender verification":               {reply("RCPT", 550, [3]int{5, 1, 1}, "sender verify failed: no such user"), ""},
		"login":                             {reply("AUTH", 535, [3]int{5, 7, 8}, "bad credentials"), ""},
		"protocol":                          {reply("RCPT", 503, [3]int{5, 5, 1}, "bad sequence of commands"), ""},
		"temporary":                         {reply("RCPT", 451, [3]int{4, 3, 0}, "try again later"), ""},
		"temporary, no such user":           {reply("RCPT", 450, [3]int{4, 1, 1}, "no such user"), ""},
		"closing":                           {reply("RCPT", 421, [3]int{4, 3, 2}, "closing"), ""},
		"the same for many":                 {many, ""},
		"not an address":                    {&mail.SendError{Command: "RCPT", Code: 553, EnhancedCode: [3]int{5, 1, 3}, Err: mail.ErrAddress}, ""},
		"no reply":                          {&mail.SendError{Command: "RCPT", Err: errors.New("closed")}, ""},
	} {
		b := newBench(t, func(c *tasks.Config) {
			withLedger(t)(c)
			c.Mailer = &relay{before: test.e}
		})
		all := events(t, workertest.Run(t, b.Definitions(), unsureCall("booking")))
		if len(all) == 0 || all[len(all)-1].State == ledger.Accepted || suppressions.Class(all[len(all)-1].Fault) != test.want {
			t.Errorf("%s: %+v, want fault %q", name, all, test.want)
		}
	}
}
