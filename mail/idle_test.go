package mail_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// A server that has had enough of an idle connection says so before the next
// command. That is no answer to the command: the next mail goes out at once, over
// one new connection, and the old one is not reused.
func TestIdleConnectionThatTheServerEnds(t *testing.T) {
	eachWay(t, testIdleConnectionThatTheServerEnds)
}

func testIdleConnectionThatTheServerEnds(t *testing.T, w way) {
	t.Parallel()
	for name, said := range map[string]struct {
		text string
		end  smtptest.Then
	}{
		"SES":                      {"451 4.4.2 Timeout waiting for data from client.\r\n", smtptest.Close},
		"SES, not closed yet":      {"451 4.4.2 Timeout waiting for data from client.\r\n", smtptest.Go},
		"Postfix":                  {"421 4.4.2 smtptest Error: timeout exceeded\r\n", smtptest.Close},
		"good-bye":                 {"221 2.0.0 closing\r\n", smtptest.Close},
		"a reply that is positive": {"250 2.0.0 ok\r\n", smtptest.Go},
		"no such command":          {"500 5.5.1 what\r\n", smtptest.Go},
		"a refusal of a recipient": {"550 5.1.1 no such user\r\n", smtptest.Go},
		"a refusal of us":          {"554 5.7.1 go away\r\n", smtptest.Close},
		"half a reply":             {"451 4.4.2 Time", smtptest.Close},
		"half a reply, open":       {"421-4.4.2 one\r\n421 4.", smtptest.Go},
		"no reply":                 {"", smtptest.Close},
		"reset":                    {"", smtptest.Reset},
	} {
		for _, implicit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", name, implicit), func(t *testing.T) {
				t.Parallel()
				server := smtptest.New(t, w.in(smtptest.Options{ImplicitTLS: implicit}))
				cfg := config(server)
				if implicit {
					cfg.Security = mail.ImplicitTLS
				}
				sender := newSender(t, cfg)
				run(t, sender)
				waitRunning(t, server, sender)
				before, _ := server.Connections()
				commands := len(server.Commands())
				server.Say(said.text, said.end)
				for range 3 {
					if _, err := sender.Send(t.Context(), message()); err != nil {
						t.Fatalf("the next mail: %v", err)
					}
				}
				if after, _ := server.Connections(); after != before+1 {
					t.Errorf("%d new connections, want 1", after-before)
				}
				if got := server.Commands()[commands]; got != "EHLO worker-1.evently.example" {
					t.Errorf("the first command was %q: what lay in the socket was not read", got)
				}
				if sender.Status().Fault != nil {
					t.Errorf("status %+v", sender.Status())
				}
			})
		}
	}
}

// The same when it comes just after we have looked, so that it is read as the
// answer to the first command.
func TestAnswerThatIsOlderThanTheCommand(t *testing.T) {
	eachWay(t, testAnswerThatIsOlderThanTheCommand)
}

func testAnswerThatIsOlderThanTheCommand(t *testing.T, w way) {
	t.Parallel()
	for _, answer := range []smtptest.Action{
		{Reply: "451 4.4.2 Timeout waiting for data from client.", Then: smtptest.Close},
		{Reply: "451 4.4.2 Timeout waiting for data from client."},
		{Reply: "421 4.4.2 idle", Then: smtptest.Reset},
		{Reply: "221 2.0.0 bye", Then: smtptest.Close},
		{Reply: "220 ready"},
		{Reply: "235 2.7.0 welcome"},
		{Reply: "354 go ahead"},
		{Reply: "450 4.7.1 later"},
		{Reply: "500 5.5.1 what"},
		{Reply: "550 5.7.1 Relay access denied"},
		{Reply: "451 4.4.2 half a re", Then: smtptest.Close},
		{Reply: "451-4.4.2 half", Then: smtptest.Close},
		{Reply: "HTTP/1.1 400 Bad Request"},
		{Then: smtptest.Close},
	} {
		t.Run(fmt.Sprintf("%q %d", answer.Reply, answer.Then), func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, w.in(smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
				if s.Command == "MAIL" && s.Mails == 2 { // the third mail of each connection
					return answer
				}
				return smtptest.Action{}
			}}))
			sender := newSender(t, config(server))
			run(t, sender)
			waitRunning(t, server, sender)
			before := len(server.Mails())
			for range 7 {
				if _, err := sender.Send(t.Context(), message()); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(server.Mails()) - before; n != 7 {
				t.Errorf("%d mails for 7", n)
			}
			var last []int
			for _, m := range server.Mails() {
				if i := slices.Index(last, m.Conn); i >= 0 && i != len(last)-1 {
					t.Error("a connection that had failed was reused")
				}
				if len(last) == 0 || last[len(last)-1] != m.Conn {
					last = append(last, m.Conn)
				}
			}
		})
	}
}

// An old answer that looks like the right one puts each answer one command late.
func TestAnswersThatAreOneLate(t *testing.T) { eachWay(t, testAnswersThatAreOneLate) }

func testAnswersThatAreOneLate(t *testing.T, w way) {
	t.Parallel()
	server := smtptest.New(t, w.in(smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "DATA" && s.Mails == 2 {
			return smtptest.Action{Reply: "250 2.1.5 ok"} // that of RCPT
		}
		return smtptest.Action{}
	}}))
	sender := newSender(t, config(server))
	run(t, sender)
	waitRunning(t, server, sender)
	for range 4 {
		if _, err := sender.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that refuses us on the new connection as well means it.
func TestRefusalOnTheNewConnectionCounts(t *testing.T) {
	eachWay(t, testRefusalOnTheNewConnectionCounts)
}

func testRefusalOnTheNewConnectionCounts(t *testing.T, w way) {
	t.Parallel()
	var mu sync.Mutex
	refuse := false
	server := smtptest.New(t, w.in(smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		mu.Lock()
		defer mu.Unlock()
		if s.Command == "MAIL" && refuse {
			return smtptest.Action{Reply: "550 5.7.1 not you"}
		}
		return smtptest.Action{}
	}}))
	sender := newSender(t, config(server))
	run(t, sender)
	waitRunning(t, server, sender)
	before, _ := server.Connections()
	mu.Lock()
	refuse = true
	mu.Unlock()
	for range 3 {
		_, err := sender.Send(t.Context(), message())
		if failed := sendError(t, err); !failed.ConfigurationFault() {
			t.Errorf("%v is no fault of ours", err)
		}
	}
	// The first mail needs one to be sure; after RSET was answered the connection is known to live.
	if after, _ := server.Connections(); after != before+1 {
		t.Errorf("%d new connections, want 1", after-before)
	}
}

// To look costs next to nothing.
func BenchmarkReusedConnection(b *testing.B) {
	server := smtptest.New(b, smtptest.Options{})
	sender := newSender(b, config(server))
	run(b, sender)
	time.Sleep(10 * time.Millisecond)
	for b.Loop() {
		if _, err := sender.Send(b.Context(), message()); err != nil {
			b.Fatal(err)
		}
	}
}
