package mail_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

var (
	pipelining = []string{"PIPELINING"}
	chunking   = []string{"PIPELINING", "CHUNKING"}
)

// verbs returns the commands of the last mail, without their arguments.
func verbs(server *smtptest.Server) string {
	var all []string
	for _, command := range server.Commands() {
		verb, rest, _ := strings.Cut(command, " ")
		if verb == "BDAT" && strings.HasSuffix(rest, "LAST") {
			verb = "LAST"
		}
		if verb == "MAIL" {
			all = nil
		}
		all = append(all, verb)
	}
	return strings.Join(all, " ")
}

// Commands go out in groups only where the server offers it and the configuration allows it.
func TestWays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		extensions   []string
		change       func(*mail.Config)
		first, other string // commands of the first mail of a connection, and of the others
		grouped      bool
	}{
		{"nothing offered", nil, nil, "MAIL RCPT DATA", "MAIL RCPT DATA", false},
		{"pipelining", pipelining, nil, "MAIL RCPT DATA", "MAIL RCPT DATA", true},
		{"in lower case", []string{"pipelining", "chunking"}, nil, "MAIL RCPT BDAT LAST", "MAIL RCPT LAST", true},
		{"chunking", chunking, nil, "MAIL RCPT BDAT LAST", "MAIL RCPT LAST", true},
		{"chunking alone", []string{"CHUNKING"}, nil, "MAIL RCPT DATA", "MAIL RCPT DATA", false},
		{"no chunking", chunking, func(c *mail.Config) { c.NoChunking = true }, "MAIL RCPT DATA", "MAIL RCPT DATA", true},
		{"no pipelining", chunking, func(c *mail.Config) { c.NoPipelining = true }, "MAIL RCPT DATA", "MAIL RCPT DATA", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			grouped := make(chan bool, 100)
			server := smtptest.New(t, smtptest.Options{Extensions: tt.extensions, Script: func(s smtptest.Step) smtptest.Action {
				if s.Command == "MAIL" {
					grouped <- s.Grouped
				}
				return smtptest.Action{}
			}})
			cfg := config(server)
			if tt.change != nil {
				tt.change(&cfg)
			}
			sender := newSender(t, cfg)
			run(t, sender)
			waitRunning(t, server, sender)
			conn, want := 0, ""
			for range 2 {
				receipt, err := sender.Send(t.Context(), message())
				if err != nil {
					t.Fatal(err)
				}
				mails := server.Mails()
				got := mails[len(mails)-1]
				want = tt.other
				if !receipt.Reused {
					want = tt.first
				}
				conn = got.Conn
				composed, err := sender.Compose(message())
				if err != nil || !bytes.Equal(got.Data, composed.Bytes) || got.Chunked != strings.Contains(tt.first, "BDAT") {
					t.Errorf("%v, chunked %v:\n%s", err, got.Chunked, got.Data)
				}
				if commands := verbs(server); commands != want {
					t.Errorf("%s on connection %d, want %s", commands, conn, want)
				}
				for len(grouped) > 1 {
					<-grouped
				}
				if g := <-grouped; g != tt.grouped {
					t.Errorf("MAIL in a group: %v", g)
				}
			}
		})
	}
}

// The replies to a group count as those to single commands do, and a refused mail
// leaves nothing behind: no end of data, and no reply for the next mail.
func TestRefusalsInAGroup(t *testing.T) {
	t.Parallel()
	actions := func(pairs ...string) func(smtptest.Step) smtptest.Action {
		return func(s smtptest.Step) smtptest.Action {
			for i := 0; i < len(pairs); i += 2 {
				if (s.Command == pairs[i] || s.Command == "BDAT" && pairs[i] == "DATA") && s.Conn == 1 {
					return smtptest.Action{Reply: pairs[i+1]}
				}
			}
			return smtptest.Action{}
		}
	}
	for _, tt := range []struct {
		name    string
		script  func(smtptest.Step) smtptest.Action
		command string
		code    int
		verdict string
		reused  bool // the connection serves the next mail, too
	}{
		{"MAIL refused", actions("MAIL", "451 4.7.1 later"), "MAIL", 451, "r", true},
		{"MAIL refused for ever", actions("MAIL", "550 5.7.60 not as this"), "MAIL", 550, "rcb", true},
		{"MAIL refused, RCPT accepted", actions("MAIL", "451 4.7.1 later", "RCPT", "250 ok"), "MAIL", 451, "r", true},
		{"MAIL refused, 354", actions("MAIL", "451 4.7.1 later", "DATA", "354 go ahead"), "MAIL", 451, "r", false},
		{"RCPT refused", actions("RCPT", "550 5.1.1 unknown"), "RCPT", 550, "a", true},
		{"RCPT refused, no valid recipients", actions("RCPT", "550 5.1.1 unknown", "DATA", "554 5.5.1 no valid recipients"), "RCPT", 550, "a", true},
		{"RCPT refused, 354", actions("RCPT", "550 5.1.1 unknown", "DATA", "354 go ahead"), "RCPT", 550, "a", false},
		{"RCPT deferred, 354", actions("RCPT", "450 4.2.1 busy", "DATA", "354 go ahead"), "RCPT", 450, "r", false},
		{"DATA refused", actions("DATA", "451 4.7.1 later"), "DATA", 451, "r", true},
		{"DATA refused for ever", actions("DATA", "554 5.7.1 no"), "DATA", 554, "r", true},
		{"421 at MAIL", actions("MAIL", "421 4.7.0 slow down"), "MAIL", 421, "rtb", false},
		{"421 at RCPT", actions("RCPT", "421 4.7.0 slow down"), "RCPT", 421, "rtb", false},
		{"421 at DATA", actions("DATA", "421 4.7.0 slow down"), "DATA", 421, "rtb", false},
		{"421 to all", actions("MAIL", "421 4.7.0 x", "RCPT", "421 4.7.0 y", "DATA", "421 4.7.0 z"), "MAIL", 421, "rtb", false},
		{"451 4.4.2 at RCPT", actions("RCPT", "451 4.4.2 timeout"), "RCPT", 451, "r", false},
	} {
		for _, w := range ways[1:] {
			t.Run(tt.name+", "+w.name, func(t *testing.T) {
				t.Parallel()
				opts := w.in(smtptest.Options{})
				opts.Script = tt.script
				server := smtptest.New(t, opts)
				cfg := config(server)
				cfg.MaxConns = 1
				sender := newSender(t, cfg)
				run(t, sender)
				asked := false
				m := message()
				m.BeforeFinal = func(context.Context) error { asked = true; return nil }
				_, err := sender.Send(t.Context(), m)
				failed := sendError(t, err)
				if failed.Command != tt.command || failed.Code != tt.code || verdict(failed) != tt.verdict || asked {
					t.Errorf("%v, %q, asked %v", err, verdict(failed), asked)
				}
				if n := len(server.Mails()); n != 0 {
					t.Errorf("%d mails accepted", n)
				}
				if accepted, open := server.Connections(); accepted != 1 || tt.reused && open != 1 {
					t.Errorf("%d connections, %d open", accepted, open)
				}
				if !tt.reused { // such as a 354 that waits for a mail
					server.Wait("the end of the connection", func() bool { _, open := server.Connections(); return open == 0 })
					if got := server.Commands(); slices.Contains(got, ".") || slices.Contains(got, "QUIT") {
						t.Errorf("said %q", got)
					}
				}
				// The script refuses on the first connection alone.
				second := message()
				second.To = "joe@example.com"
				if tt.reused {
					_, err = sender.Send(t.Context(), second)
					if again := sendError(t, err); tt.command != "MAIL" && again.Command != tt.command && w.name != "chunked" {
						t.Errorf("again: %v", err)
					}
					return
				}
				if _, err := sender.Send(t.Context(), second); err != nil {
					t.Errorf("the next mail: %v", err)
				}
				if got := server.WaitMails(1); len(got) != 1 || got[0].To != second.To {
					t.Errorf("mails %+v", got)
				}
			})
		}
	}
}

// Replies may come in any parts.
func TestSplitReplies(t *testing.T) {
	t.Parallel()
	for _, w := range ways {
		for _, gather := range []bool{false, true} {
			opts := w.in(smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
				switch s.Command {
				case "CONNECT", "EHLO", "BODY":
					return smtptest.Action{}
				case "RCPT":
					return smtptest.Action{Reply: "250-2.1.5 one\r\n250-\r\n250 2.1.5 three", Then: smtptest.Split}
				}
				return smtptest.Action{Then: smtptest.Split}
			}})
			opts.Gather = gather
			server := smtptest.New(t, opts)
			sender := newSender(t, config(server))
			run(t, sender)
			for range 5 {
				if _, err := sender.Send(t.Context(), message()); err != nil {
					t.Errorf("%s: %v", w.name, err)
				}
			}
			if n := len(server.Mails()); n != 5 {
				t.Errorf("%s: %d mails", w.name, n)
			}
		}
	}
}

// A server that offers what it cannot do gets its mails all the same: this one, where its words
// or replies say so, and else one of the next. The relay is remembered.
func TestServersThatCannotDoWhatTheyOffer(t *testing.T) {
	t.Parallel()
	grouped := func(command string, action smtptest.Action) func(smtptest.Step) smtptest.Action {
		return func(s smtptest.Step) smtptest.Action {
			if s.Command == command && s.Grouped {
				return action
			}
			return smtptest.Action{}
		}
	}
	for _, tt := range []struct {
		name       string
		extensions []string
		script     func(smtptest.Step) smtptest.Action
		lost       int    // mails that are deferred before the relay is known
		then       string // commands of a later mail
	}{
		{"refuses groups at MAIL", pipelining, grouped("MAIL", smtptest.Action{Reply: "503 5.5.0 improper use of SMTP command pipelining"}), 0, "MAIL RCPT DATA"},
		{"refuses groups in words", pipelining, grouped("RCPT", smtptest.Action{Reply: "554 SMTP synchronization error", Then: smtptest.Close}), 0, "MAIL RCPT DATA"},
		{"does not know a second command", pipelining, grouped("RCPT", smtptest.Action{Reply: "500 what"}), 0, "MAIL RCPT DATA"},
		{"is out of step", pipelining, grouped("MAIL", smtptest.Action{Reply: "250 ok\r\n250 ok"}), 0, "MAIL RCPT DATA"},
		{"throws away what came early", pipelining, grouped("MAIL", smtptest.Action{Then: smtptest.Discard}), 5, "MAIL RCPT DATA"},
		{"hangs up", pipelining, grouped("MAIL", smtptest.Action{Then: smtptest.Close}), 5, "MAIL RCPT DATA"},
		{"does not know BDAT", chunking, at("BDAT", smtptest.Action{Reply: "500 5.5.1 unknown command"}), 0, "MAIL RCPT DATA"},
		{"does not know BDAT, and reads the chunk", chunking, at("BDAT", smtptest.Action{Reply: "502 what", Then: smtptest.Unread}), 0, "MAIL RCPT DATA"},
		{"is lost after BDAT", chunking, at("BDAT", smtptest.Action{Reply: "354 go ahead"}), 0, "MAIL RCPT DATA"},
		{"hangs up at BDAT", chunking, at("BDAT", smtptest.Action{Then: smtptest.Close}), 5, "MAIL RCPT DATA"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var logs lockedBuffer
			server := smtptest.New(t, smtptest.Options{Extensions: tt.extensions, Script: tt.script})
			cfg := config(server)
			cfg.Logger = slog.New(slog.NewTextHandler(&logs, nil))
			cfg.Timeouts.Command = 500 * time.Millisecond
			sender := newSender(t, cfg)
			const most = 12
			sent, before := 0, 0
			for i := range most {
				m := message()
				// The text of a user must not become a command.
				m.Text = "MAIL FROM:<evil@example.com>\nRCPT TO:<victim@example.com>\nDATA\nspam\n.\nQUIT\n"
				_, err := sender.Send(t.Context(), m)
				switch {
				case err == nil:
					sent++
				case verdict(sendError(t, err)) != "rb":
					t.Errorf("mail %d: %v", i, err)
				}
				if i == most-2 {
					before, _ = server.Connections()
				}
			}
			if sent < most-tt.lost {
				t.Errorf("%d of %d mails sent", sent, most)
			}
			mails := server.WaitMails(sent)
			for _, m := range mails {
				if m.To != recipient {
					t.Errorf("a mail to %s", m.To)
				}
			}
			if after, _ := server.Connections(); after != before+1 || len(mails) != sent {
				t.Errorf("%d connections for the last mail, %d mails for %d", after-before, len(mails), sent)
			}
			if got := verbs(server); !strings.HasPrefix(got, tt.then) {
				t.Errorf("in the end: %s", got)
			}
			if n := strings.Count(logs.String(), "server cannot do an extension"); n != 1 {
				t.Errorf("%d warnings:\n%s", n, logs.String())
			}
		})
	}
}

// The same refusal without a group acquits the server: the next mail goes in a group.
func TestInnocentServer(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Extensions: pipelining, Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "RCPT" && strings.Contains(s.Line, "joe@") {
			return smtptest.Action{Reply: "503 not today"}
		}
		if s.Command == "MAIL" && s.Conn == 3 && !s.Grouped {
			return smtptest.Action{Reply: "451 no group came"}
		}
		return smtptest.Action{}
	}})
	sender := newSender(t, config(server))
	m := message()
	m.To = "joe@example.com"
	if _, err := sender.Send(t.Context(), m); sendError(t, err).Code != 503 {
		t.Error(err)
	}
	if _, err := sender.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
	if accepted, _ := server.Connections(); accepted != 3 {
		t.Errorf("%d connections", accepted)
	}
}

// A withheld mail is delivered in no part, in no way.
func TestWithheldInEachWay(t *testing.T) { eachWay(t, testWithheldInEachWay) }

func testWithheldInEachWay(t *testing.T, w way) {
	t.Parallel()
	server := smtptest.New(t, w.in(smtptest.Options{ImplicitTLS: true}))
	cfg := config(server)
	cfg.Security = mail.ImplicitTLS
	sender := newSender(t, cfg)
	run(t, sender)
	errNo := errors.New("no")
	for i := range 6 {
		m := big(message())
		if i%2 == 1 {
			m.BeforeFinal = func(context.Context) error { return errNo }
		}
		_, err := sender.Send(t.Context(), m)
		if i%2 == 0 && err != nil || i%2 == 1 && (!errors.Is(err, errNo) || sendError(t, err).Command != "BODY") {
			t.Errorf("mail %d: %v", i, err)
		}
	}
	if n := len(server.WaitMails(3)); n != 3 {
		t.Errorf("%d mails", n)
	}
}
