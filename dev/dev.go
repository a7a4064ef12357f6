// Package dev is the whole service on embedded parts, for a machine on which
// nothing is installed: a Redis that Celery producers can use, a users table, a
// mail server that catches everything, the worker, and a page to read the mails
// and to send tasks.
//
// Everything listens on the loopback address only and lives in memory: when it
// ends nothing is left. The page shows mails and one-time codes to whoever can
// reach this machine's loopback address; it is for development.
package dev

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// Preferred ports. When one is taken, the next free one is used.
const (
	DefaultRedisPort = 6379
	DefaultSMTPPort  = 1025
	DefaultHTTPPort  = 8025
)

// Options are the wishes of who starts it. The zero value is fine.
type Options struct {
	// Out gets the banner: where to look, and a Python program to copy. nil:
	// nobody does.
	Out io.Writer

	// Logger gets what happens; never a code or the content of a mail. nil:
	// no logs.
	Logger *slog.Logger

	// Open opens the page in the browser of the desktop.
	Open bool

	// Preferred ports. 0: the defaults; negative: any free port.
	RedisPort, SMTPPort, HTTPPort int

	// Ready is called when everything listens. nil: nobody is told.
	Ready func(Addresses)
}

// Run starts everything and blocks until ctx ends or a part fails. It returns
// when all that it started has ended: nil after an orderly stop.
func Run(ctx context.Context, o Options) error { return run(ctx, o, startWorker) }

// work runs a worker on the embedded parts until ctx ends. It returns when the
// tasks that it runs have come to their end.
type work func(ctx context.Context, p parts) error

func run(ctx context.Context, o Options, worker work) (err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	now := time.Now
	users := seed()
	db, err := openUsers(ctx, now(), users)
	if err != nil {
		return err
	}
	defer db.Close()
	redis, err := startRedis(or(o.RedisPort, DefaultRedisPort))
	if err != nil {
		return err
	}
	defer redis.Close()
	smtp, err := bindTCP(or(o.SMTPPort, DefaultSMTPPort))
	if err != nil {
		return fmt.Errorf("start the mail catcher: %w", err)
	}
	defer smtp.Close()
	page, err := bindTCP(or(o.HTTPPort, DefaultHTTPPort))
	if err != nil {
		return fmt.Errorf("start the page: %w", err)
	}
	defer page.Close()

	pool := newPool(redis.Addr())
	defer pool.Close()
	addresses := Addresses{
		Redis: "redis://" + redis.Addr() + "/0",
		SMTP:  smtp.Addr().String(),
		Page:  "http://" + page.Addr().String(),
	}
	changed := newPulse()
	inbox, log := newInbox(changed), newTasklog(changed, now)
	site := &site{
		inbox: inbox, tasks: log, changed: changed, users: users, addresses: addresses,
		send: newProducer(pool, log).send, logger: o.Logger, now: now,
	}
	catcher := &catcher{inbox: inbox, logger: o.Logger, now: now}

	// The worker comes first and ends first: while it drains, its Redis and its
	// mail server must be there.
	below, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer release()
		return worker(gctx, parts{
			users: db, redisURL: addresses.Redis, smtp: smtp.Addr().(*net.TCPAddr), log: log, logger: o.Logger,
		})
	})
	g.Go(func() error { return site.serve(gctx, page) })
	g.Go(func() error { return catcher.serve(below, smtp) })
	g.Go(func() error {
		log.watch(below, redis.Addr(), pool, o.Logger)
		return nil
	})
	o.announce(addresses)
	if err := g.Wait(); err != nil {
		return fmt.Errorf("development mode: %w", err)
	}
	return nil
}

// announce tells whoever wants to know that everything listens.
func (o Options) announce(a Addresses) {
	if o.Out != nil {
		if err := banner(o.Out, a); err != nil {
			o.Logger.Warn("banner not written", "error", err)
		}
	}
	if o.Open {
		if err := browse(a.Page); err != nil {
			o.Logger.Warn("browser not opened", "error", err, "page", a.Page)
		}
	}
	if o.Ready != nil {
		o.Ready(a)
	}
}

// browse asks the desktop to show a page. It does not wait for the browser,
// which belongs to the user and stays.
func browse(url string) error {
	opener := []string{"xdg-open"}
	switch runtime.GOOS {
	case "darwin":
		opener = []string{"open"}
	case "windows":
		opener = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	cmd := exec.Command(opener[0], append(opener[1:], url)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

func or(port, preferred int) int {
	if port == 0 {
		return preferred
	}
	return port
}
