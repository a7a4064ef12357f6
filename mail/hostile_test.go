package mail_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// One refused recipient must not spoil the next mail on the connection: RSET,
// and where that does not work a new connection.
func TestRefusalDoesNotSpoilTheNext(t *testing.T) { eachWay(t, testRefusalDoesNotSpoilTheNext) }

func testRefusalDoesNotSpoilTheNext(t *testing.T, w way) {
	t.Parallel()
	for _, command := range []string{"MAIL", "RCPT", "DATA", "."} {
		if command == "DATA" && w.name == "chunked" {
			continue // only the first mail of a connection has a first chunk
		}
		for _, rset := range []smtptest.Action{{}, {Reply: "500 5.5.1 what"}, {Then: smtptest.Reset}} {
			t.Run(fmt.Sprintf("%s, RSET %+v", command, rset), func(t *testing.T) {
				t.Parallel()
				refuse := make(chan struct{}, 2)
				server := smtptest.New(t, w.in(smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
					switch s.Command {
					case command:
						select {
						case <-refuse:
							return smtptest.Action{Reply: "452 4.2.2 not now"}
						default:
						}
					case "RSET":
						return rset
					}
					return smtptest.Action{}
				}}))
				sender := newSender(t, config(server))
				run(t, sender)
				waitRunning(t, server, sender)
				refuse <- struct{}{}
				if command == "MAIL" {
					refuse <- struct{}{} // on the reused connection it proves nothing
				}
				_, err := sender.Send(t.Context(), message())
				before, _ := server.Connections()
				if failed := sendError(t, err); failed.Command != command || failed.Code != 452 || verdict(failed) != "r" {
					t.Fatalf("refused: %v, %q", err, verdict(failed))
				}
				receipt, err := sender.Send(t.Context(), message())
				if err != nil {
					t.Fatalf("next mail: %v", err)
				}
				works := rset == smtptest.Action{}
				if receipt.Reused != works || count(server.Commands(), "RSET") != 1 {
					t.Errorf("reused %v, commands %q", receipt.Reused, server.Commands())
				}
				if after, _ := server.Connections(); works && after != before {
					t.Errorf("%d new connections", after-before)
				}
			})
		}
	}
}

// Replies that come before their command would be taken for the next one's. In a group that ends
// with BDAT they are known by the reply that is left over, once it is there.
func TestReplyBeforeCommand(t *testing.T) { eachWay(t, testReplyBeforeCommand) }

func testReplyBeforeCommand(t *testing.T, w way) {
	t.Parallel()
	for _, command := range []string{"CONNECT", "EHLO", "MAIL", "RCPT", "DATA"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			code := map[string]string{"CONNECT": "220", "DATA": "354"}[command]
			if code == "" {
				code = "250"
			}
			server := smtptest.New(t, w.in(smtptest.Options{Gather: true, Script: at(command, smtptest.Action{Reply: code + " ok\r\n250 2.0.0 queued, honestly"})}))
			_, err := newSender(t, config(server)).Send(t.Context(), message())
			if failed := sendError(t, err); verdict(failed) != "rb" || failed.Code != 0 {
				t.Errorf("%v, verdict %q", err, verdict(failed))
			}
			if len(server.Mails()) != 0 {
				t.Error("a mail was delivered")
			}
		})
	}
}

func TestCancelAtEveryStage(t *testing.T) { eachWay(t, testCancelAtEveryStage) }

func testCancelAtEveryStage(t *testing.T, w way) {
	t.Parallel()
	cause := errors.New("soft time limit")
	for _, command := range []string{"CONNECT", "EHLO", "STARTTLS", "TLS", "AUTH", "MAIL", "RCPT", "DATA", "BODY", "."} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			server := smtptest.New(t, w.in(smtptest.Options{
				STARTTLS: true, Username: "evently", Password: canaryPassword,
				Script: func(s smtptest.Step) smtptest.Action {
					if s.Command == command {
						cancel(cause)
						return smtptest.Action{Then: smtptest.Freeze}
					}
					return smtptest.Action{}
				},
			}))
			cfg := config(server)
			cfg.Security, cfg.Username, cfg.Password = mail.StartTLS, "evently", canaryPassword
			const never = time.Hour // only the cancellation can end it
			cfg.Timeouts = mail.Timeouts{
				Dial: never, TLS: never, Greeting: never, Command: never, BodyWrite: never, Final: never, Quit: never,
			}
			_, err := newSender(t, cfg).Send(ctx, big(message()))
			failed := sendError(t, err)
			out := failed.Command == "." // at BODY all may be out before the cancellation is seen
			if failed.CountsForBreaker() {
				t.Errorf("counts for the breaker: %v", err)
			}
			if !errors.Is(err, cause) || failed.Unknown() != out || failed.Retryable() == out || command == "." && !out {
				t.Errorf("%v, verdict %q", err, verdict(failed))
			}
		})
	}
}

// A server that always hangs up at MAIL is dialled once a mail.
func TestNoDialFlood(t *testing.T) { eachWay(t, testNoDialFlood) }

func testNoDialFlood(t *testing.T, w way) {
	t.Parallel()
	server := smtptest.New(t, w.in(smtptest.Options{Script: at("MAIL", smtptest.Action{Then: smtptest.Close})}))
	sender := newSender(t, config(server))
	run(t, sender)
	for range 20 {
		if _, err := sender.Send(t.Context(), message()); err == nil {
			t.Fatal("mail accepted")
		}
	}
	if accepted, _ := server.Connections(); accepted != 20 {
		t.Errorf("%d dials for 20 mails", accepted)
	}
}

// The sender returns in time and without a panic from every dialogue. It never reports a mail
// as sent if the server did not read its end.
func FuzzServer(f *testing.F) {
	f.Add("220 hi|250 EHLO|250 ok|250 ok|354 go|250 done|221 bye")
	f.Add("220-hi|220 there|250-AUTH PLAIN|250 SIZE 99999999999999999999|250|250|354|250")
	f.Add("220 hi|250-SMTPUTF8\r\n250-AUTH\r\n250 DSN|334 |334 x|334 !|501 no|250 ok")
	f.Add("220 hi|250-\r\n250 |251 5.1.1|299 |354 \x00|999 what\r\n250 ok")
	f.Add("|||||||")
	f.Fuzz(func(t *testing.T, script string) {
		replies := strings.Split(script, "|")
		ended := false
		server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
			ended = ended || s.Command == "."
			if len(replies) == 0 || s.Command == "BODY" {
				return smtptest.Action{}
			}
			reply := replies[0]
			replies = replies[1:]
			return smtptest.Action{Reply: reply}
		}})
		cfg := config(server)
		cfg.Username, cfg.Password = "evently", canaryPassword
		cfg.Timeouts = mail.Timeouts{Greeting: 50 * time.Millisecond, Command: 50 * time.Millisecond, Final: 50 * time.Millisecond, Quit: 10 * time.Millisecond}
		receipt, err := newSender(t, cfg).Send(t.Context(), message())
		server.Stop() // and with it the calls of the script
		text := receipt.Reply
		if err != nil {
			text = err.Error()
		} else if !ended {
			t.Errorf("mail sent without an end of data: %q", script)
		}
		if strings.ContainsAny(text, "\r\n\x00") || len(text) > 2000 {
			t.Errorf("text %q", text)
		}
		if err := notIn(text); err != nil {
			t.Error(err)
		}
	})
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{})
	cfg := config(server)
	server.Stop()
	_, err := newSender(t, cfg).Send(t.Context(), message())
	if failed := sendError(t, err); failed.Command != "DIAL" || verdict(failed) != "rb" {
		t.Errorf("%v, verdict %q", err, verdict(failed))
	}
}
