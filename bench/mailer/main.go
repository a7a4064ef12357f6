// Command mailer is the worker that bench measures with mails. It is not the worker of the
// other parts, whose memory must be that of the library alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/gcfloor"
	"github.com/evently/workers/worker/redis"
)

func main() {
	if err := run(); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench mailer:", err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("mailer", flag.ContinueOnError)
	url := flags.String("redis", "redis://127.0.0.1:6379/0", "URL of Redis")
	queue := flags.String("queue", "bench", "queue to consume")
	concurrency := flags.Int("c", 8, "tasks at once")
	relay := flags.String("smtp", "127.0.0.1:25", "host:port of the relay")
	ca := flags.String("ca", "", "certificate of the relay's authority")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	defer gcfloor.Keep(gcfloor.Usual)() // as evently-workers does
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	broker, err := redis.New(redis.Config{URL: *url, Logger: log})
	if err != nil {
		return err
	}
	sender, err := newSender(*relay, *ca, *concurrency)
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Config{
		Broker: broker, Queues: []string{*queue}, Concurrency: *concurrency, Logger: log,
		Tasks: map[string]worker.Definition{"bench.mail": {Handler: sendMail(sender)}},
	})
	if err != nil {
		return err
	}
	keep, end := context.WithCancel(context.WithoutCancel(ctx)) // the last mails come after ctx
	kept := make(chan error, 1)
	go func() { kept <- sender.Run(keep) }()
	err = w.Run(ctx)
	end()
	return errors.Join(err, <-kept)
}

func newSender(address, ca string, conns int) (*mail.Sender, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	return mail.New(mail.Config{
		Host: host, Port: n, Username: "bench", Password: "bench", TLSCAFile: ca,
		FromAddress: "mail@evently.example", HelloName: "bench.evently.example", MaxConns: conns,
	})
}

// sendMail sends the mail of bench/celery/benchapp.py.
func sendMail(sender *mail.Sender) worker.Handler {
	text := strings.Repeat("All work and no play makes Jack a dull boy.\n", 40)
	html := strings.Repeat("<p>All work and no play makes Jack a dull boy.</p>\n", 80)
	return worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
		_, err := sender.Send(ctx, mail.Message{
			To: "jane.roe@example.com", Subject: "Your booking", Text: text, HTML: html, TaskID: t.ID,
			BeforeFinal: t.Held,
		})
		return map[string]bool{"success": true}, err
	})
}
