package mail_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{STARTTLS: true})
	cfg := config(server)
	cfg.Security = mail.StartTLS
	cfg.MaxMessagesPerConn = 4
	sender := newSender(t, cfg)
	stop := run(t, sender)
	waitRunning(t, server, sender)
	before := len(server.Mails())
	for i := range 8 {
		receipt, err := sender.Send(t.Context(), message())
		if err != nil {
			t.Fatalf("mail %d: %v", i, err)
		}
		_ = receipt
	}
	perConn := make(map[int]int)
	for _, m := range server.WaitMails(before + 8) {
		perConn[m.Conn]++
	}
	for conn, n := range perConn {
		if n > 4 {
			t.Errorf("connection %d carried %d mails, more than MaxMessagesPerConn", conn, n)
		}
	}
	if max := (before+8)/4 + 1 + before; len(perConn) > max {
		t.Errorf("%d connections for %d mails", len(perConn), before+8)
	}
	for _, command := range server.Commands() {
		if command == "RSET" || command == "NOOP" {
			t.Errorf("%s between mails that were accepted", command)
		}
	}
	stop()
	server.Wait("all connections to be closed", func() bool { _, open := server.Connections(); return open == 0 })
	accepted, _ := server.Connections()
	if quits := count(server.Commands(), "QUIT"); quits != accepted {
		t.Errorf("%d QUITs for %d connections", quits, accepted)
	}
}

// waitRunning sends mails until one comes over a reused connection: Run has
// begun then.
func waitRunning(t *testing.T, server *smtptest.Server, sender *mail.Sender) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		receipt, err := sender.Send(t.Context(), message())
		if err != nil {
			t.Fatal(err)
		}
		if receipt.Reused {
			return
		}
	}
	t.Fatal("no connection was ever reused")
}

func TestWithoutRunNothingStaysOpen(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{})
	sender := newSender(t, config(server))
	for range 3 {
		if _, err := sender.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
	}
	server.Wait("the end of the connections", func() bool { _, open := server.Connections(); return open == 0 })
	if accepted, _ := server.Connections(); accepted != 3 || count(server.Commands(), "QUIT") != 3 {
		t.Errorf("%d connections, commands %q", accepted, server.Commands())
	}
}

func TestIdleAndOldConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"IdleTimeout", "MaxAge"} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, smtptest.Options{})
			cfg := config(server)
			if field == "MaxAge" {
				cfg.MaxAge = 100 * time.Millisecond
			} else {
				cfg.IdleTimeout = 100 * time.Millisecond
			}
			sender := newSender(t, cfg)
			run(t, sender)
			waitRunning(t, server, sender)
			server.Wait("the connection to be closed", func() bool { _, open := server.Connections(); return open == 0 })
			if accepted, _ := server.Connections(); count(server.Commands(), "QUIT") != accepted {
				t.Errorf("closed without QUIT: %q", server.Commands())
			}
			if _, err := sender.Send(t.Context(), message()); err != nil {
				t.Errorf("next mail: %v", err)
			}
		})
	}
}

// Servers close idle connections without a word, or with a 421. The next mail
// must not suffer.
func TestStaleConnectionIsReplacedOnce(t *testing.T) {
	t.Parallel()
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		server := smtptest.New(t, smtptest.Options{})
		sender := newSender(t, config(server))
		run(t, sender)
		waitRunning(t, server, sender)
		before, _ := server.Connections()
		server.CloseConnections()
		server.Wait("the connection to be closed", func() bool { _, open := server.Connections(); return open == 0 })
		receipt, err := sender.Send(t.Context(), message())
		if err != nil || receipt.Reused {
			t.Fatalf("Send: %+v, %v", receipt, err)
		}
		if after, _ := server.Connections(); after != before+1 {
			t.Errorf("%d new connections", after-before)
		}
	})
	for _, answer := range []smtptest.Action{
		{Reply: "421 4.4.2 idle for too long", Then: smtptest.Close},
		{Reply: "503 5.5.1 nested MAIL"},
		{Then: smtptest.Reset},
		{Reply: "what?"},
	} {
		t.Run(fmt.Sprintf("%q %d at MAIL", answer.Reply, answer.Then), func(t *testing.T) {
			t.Parallel()
			var after int // connections from which on MAIL fails at once
			var mu sync.Mutex
			server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
				mu.Lock()
				defer mu.Unlock()
				if s.Command == "MAIL" && after != 0 && (s.Mails > 0 || s.Conn > after) {
					return answer
				}
				return smtptest.Action{}
			}})
			sender := newSender(t, config(server))
			run(t, sender)
			waitRunning(t, server, sender)
			before, _ := server.Connections()
			mu.Lock()
			after = before + 1 // the replacement works
			mu.Unlock()
			receipt, err := sender.Send(t.Context(), message())
			if err != nil || receipt.Reused {
				t.Fatalf("Send: %+v, %v", receipt, err)
			}
			mu.Lock()
			after = before // no replacement works: one more dial, and no third
			mu.Unlock()
			before, _ = server.Connections()
			if _, err := sender.Send(t.Context(), message()); sendError(t, err).Command != "MAIL" {
				t.Fatalf("Send: %v", err)
			}
			if now, _ := server.Connections(); now != before+1 {
				t.Errorf("%d connections for one mail", now-before)
			}
		})
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{})
	cfg := config(server)
	cfg.MaxConns, cfg.MaxMessagesPerConn = 3, 5
	sender := newSender(t, cfg)
	run(t, sender)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			m := message()
			m.TaskID = fmt.Sprint("task ", i)
			if _, err := sender.Send(t.Context(), m); err != nil {
				t.Errorf("mail %d: %v", i, err)
			}
			if _, open := server.Connections(); open > 2*3 { // the server may learn late of a close
				t.Errorf("%d connections open", open)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, m := range server.WaitMails(60) {
		seen[header(t, m.Data, "Message-ID")] = true
	}
	if len(seen) != 60 {
		t.Errorf("%d different mails of 60", len(seen))
	}
}

func TestWaitForConnectionEndsWithContext(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Script: at("DATA", smtptest.Action{Then: smtptest.Freeze})})
	cfg := config(server)
	cfg.MaxConns = 1
	sender := newSender(t, cfg)
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := sender.Send(ctx, message())
		if failed := sendError(t, err); failed.Command != "DATA" || !failed.Retryable() || failed.CountsForBreaker() {
			t.Errorf("cancelled at DATA: %v", err)
		}
	})
	server.Wait("DATA", func() bool { return slices.Contains(server.Commands(), "DATA") })
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	_, err := sender.Send(short, message())
	failed := sendError(t, err)
	if failed.Command != "WAIT" || !failed.Retryable() || failed.CountsForBreaker() || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no connection free: %v", err)
	}
	cancel(context.Canceled)
	wg.Wait()
}
