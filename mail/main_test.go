package mail_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	canaryCode     = "482913"
	canaryPassword = "hunter2-canary"
	recipient      = "jane.roe@example.com"
)

func message() mail.Message {
	return mail.Message{
		To:      recipient,
		Subject: canaryCode + " is your Evently code",
		Text:    "Hello Jane,\n\nyour verification code is\n\n" + canaryCode + "\n",
		HTML:    "<!doctype html><html lang=\"en\"><title>Code</title><p>" + canaryCode + "</p></html>",
		TaskID:  "7e0f6cb2-4c55-4f3c-9f3e-0d8c4d6a2a11",
		Kind:    "otp_verification",
		Date:    time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC),
	}
}

// way is a way in which a mail goes to a server.
type way struct {
	name       string
	extensions []string
	gather     bool // the replies come together
}

var ways = []way{
	{"DATA", nil, false},
	{"pipelined", []string{"PIPELINING"}, true},
	{"chunked", []string{"PIPELINING", "CHUNKING"}, false},
}

// in returns opts of a server that takes mails in this way. In its script, "DATA" stands for the
// first chunk, too.
func (w way) in(opts smtptest.Options) smtptest.Options {
	opts.Extensions = append(slices.Clone(opts.Extensions), w.extensions...)
	opts.Gather = opts.Gather || w.gather
	if script := opts.Script; script != nil {
		opts.Script = func(s smtptest.Step) smtptest.Action {
			if s.Command == "BDAT" {
				s.Command = "DATA"
			}
			return script(s)
		}
	}
	return opts
}

// eachWay runs test once for each way.
func eachWay(t *testing.T, test func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

// config points at server, without TLS unless changed, with deadlines fit for tests.
func config(server *smtptest.Server) mail.Config {
	const long = 5 * time.Second // never reached in a test that passes
	return mail.Config{
		Host:        server.Host(),
		Port:        server.Port(),
		Security:    mail.Plain,
		RootCAs:     server.Roots(),
		FromName:    "Evently",
		FromAddress: "mail@evently.example",
		ReplyTo:     "help@evently.example",
		HelloName:   "worker-1.evently.example",
		Timeouts: mail.Timeouts{
			Dial: long, TLS: long, Greeting: long, Command: long, BodyWrite: long, Final: long, Quit: long,
		},
	}
}

func newSender(t testing.TB, cfg mail.Config) *mail.Sender {
	t.Helper()
	sender, err := mail.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return sender
}

// run runs the sender until the end of the test, or until the returned function
// is called.
func run(t testing.TB, sender *mail.Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sender.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}
