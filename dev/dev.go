// Package dev runs the whole service on embedded parts, for a machine on which nothing is
// installed: a Redis that Celery producers can use, a users table, a mail server that
// catches all mails, the worker, and a page to read the mails and to send tasks.
//
// All parts listen on the loopback address only and keep their data in memory, except for the
// history of mails, which is in a temporary file for the commands that read it. The page
// shows mails and one-time codes to every program that can reach the loopback address of
// this machine; it is for development.
package dev

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker"
)

// Preferred ports. If one is in use, the next free one is taken.
const (
	DefaultRedisPort = 6379
	DefaultSMTPPort  = 1025
	DefaultHTTPPort  = 8025

	DefaultMonitorPort = 5555
	DefaultHealthPort  = 8004
)

// Options are the options of [Run]. The zero value has the defaults.
type Options struct {
	// Out gets the banner: the addresses, and a Python program to copy. Without it no
	// banner is written.
	Out io.Writer

	// Logger gets the logs, which never have a code or the content of a mail in them.
	// nil: no logs.
	Logger *slog.Logger

	// Open opens the page in the browser of the desktop.
	Open bool

	// Preferred ports. 0: the defaults; negative: any free port.
	RedisPort, SMTPPort, HTTPPort, MonitorPort, HealthPort int

	// Look has the variables that say how the mails look: TEMPLATES_DIR, DEFAULT_LOCALE and BRAND_*.
	// No other is asked for. nil: none is set.
	Look config.Lookup

	// OpenMonitor makes the monitor, with the pages of the catcher and of the faults beside its
	// own; nil: there is none.
	// settings are the variables of its configuration.
	OpenMonitor func(settings config.Lookup, groups ...web.Group) (Monitor, error)

	// RunWorker runs the worker until ctx ends, and returns when its running tasks have ended.
	RunWorker func(ctx context.Context, w Worker) error // required

	// Ready is called when all parts listen. It may be nil.
	Ready func(Addresses)
}

// Monitor serves the pages of the monitor.
type Monitor interface {
	// Run serves on l, which it closes, until ctx ends.
	Run(ctx context.Context, l net.Listener) error
	Close()
}

// Run starts all parts and blocks until ctx ends or a part fails. It returns when all parts
// have ended: nil after an orderly stop.
func Run(ctx context.Context, o Options) (err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	now := time.Now
	o.say("  Starting Evently Workers, development mode …\n")
	redis, err := startRedis(or(o.RedisPort, DefaultRedisPort))
	if err != nil {
		return err
	}
	defer redis.Close()
	broker := redis.Addr() // asked once: the chaos switch takes the server away, and its address with it
	faulty, users := newChaos(redis, now), seed()
	db, err := openUsers(ctx, now(), users, faulty)
	if err != nil {
		return err
	}
	defer db.Close()
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

	healthPort, err := bindTCP(or(o.HealthPort, DefaultHealthPort))
	if err != nil {
		return fmt.Errorf("start the health server: %w", err)
	}
	defer healthPort.Close()
	pages, err := o.listenMonitor()
	if err != nil {
		return err
	}
	if pages != nil {
		defer pages.Close()
	}

	folder, err := os.MkdirTemp("", "evently-")
	if err != nil {
		return fmt.Errorf("make a folder for the history: %w", err)
	}
	defer os.RemoveAll(folder)

	pool := newPool(broker)
	defer pool.Close()
	addresses := Addresses{
		Redis: "redis://" + broker + "/0",
		SMTP:  smtp.Addr().String(),
		Page:  "http://" + page.Addr().String(),

		History: "sqlite:" + filepath.Join(folder, "history.db"),
	}
	addresses.Taken = append(addresses.Taken, stepped("Redis", or(o.RedisPort, DefaultRedisPort), broker)...)
	addresses.Taken = append(addresses.Taken, stepped("SMTP", or(o.SMTPPort, DefaultSMTPPort), smtp.Addr().String())...)
	addresses.Taken = append(addresses.Taken, stepped("Page", or(o.HTTPPort, DefaultHTTPPort), page.Addr().String())...)
	addresses.Health = "http://" + healthPort.Addr().String() + "/health"
	addresses.Taken = append(addresses.Taken, stepped("Health", or(o.HealthPort, DefaultHealthPort), healthPort.Addr().String())...)
	if pages != nil {
		addresses.Monitor = "http://" + pages.Addr().String()
		addresses.Taken = append(addresses.Taken, stepped("Monitor", or(o.MonitorPort, DefaultMonitorPort), pages.Addr().String())...)
	}
	changed := newPulse()
	inbox, log := newInbox(changed), newTasklog(changed, now)
	site := &site{
		inbox: inbox, tasks: log, changed: changed, users: users, addresses: addresses,
		send: newProducer(pool, log).send, logger: o.Logger, now: now,
	}
	catcher := &catcher{inbox: inbox, chaos: faulty, logger: o.Logger, now: now, ended: make(chan struct{})}
	if err := os.WriteFile(filepath.Join(folder, "history.db"), nil, 0o600); err != nil {
		return fmt.Errorf("make the file of the history: %w", err)
	}
	var monitor Monitor
	if pages != nil {
		if monitor, err = o.OpenMonitor(settings(addresses, o.Look), &pagesGroup{inbox: inbox, chaos: faulty, addresses: addresses}); err != nil {
			return fmt.Errorf("prepare the monitor: %w", err)
		}
		defer monitor.Close()
	}

	// The worker ends first: while it drains, it needs its Redis and its mail server.
	below, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer release()
		return o.RunWorker(gctx, Worker{
			Settings: settings(addresses, o.Look), Users: db, Middleware: []worker.Middleware{log.observe}, Health: healthPort, HealthEvery: 2 * time.Second,
		})
	})
	g.Go(func() error { return site.serve(gctx, page) })
	if monitor != nil {
		g.Go(func() error { return monitor.Run(gctx, pages) })
	}
	g.Go(func() error { return catcher.serve(below, smtp) })
	g.Go(func() error {
		log.watch(below, broker, pool, o.Logger)
		return nil
	})
	o.announce(addresses)
	if err := g.Wait(); err != nil {
		return fmt.Errorf("development mode: %w", err)
	}
	return nil
}

// say writes a text for people, if there is a place for it.
func (o Options) say(text string) {
	if o.Out != nil {
		_, _ = io.WriteString(o.Out, text) // the banner reports a fault
	}
}

// listenMonitor opens the port of the monitor, nil without one.
func (o Options) listenMonitor() (net.Listener, error) {
	if o.OpenMonitor == nil {
		return nil, nil
	}
	l, err := bindTCP(or(o.MonitorPort, DefaultMonitorPort))
	if err != nil {
		return nil, fmt.Errorf("start the monitor: %w", err)
	}
	return l, nil
}

// announce writes the banner, opens the browser and calls Ready.
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

// browse asks the desktop to show a page. It does not wait for the browser, which stays
// open.
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
