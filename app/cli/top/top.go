// Package top shows the overview of the monitor in a terminal.
package top

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	xterm "golang.org/x/term"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/summary"
)

// Cmd shows the overview.
type Cmd struct {
	Broker term.Broker `help:"Which broker of REDIS_URLS; needed if there are several." placeholder:"NAME"`
	Once   bool        `help:"Print it once, without keys and colours. The default where there is no terminal."`
	JSON   bool        `name:"json" help:"Print it once as JSON."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `Shows what the overview of the monitor shows: tasks a second, run times, codes,
circuit breakers, dead letters, queues, workers, and what to look at. It reads
Redis, and the database of the history if there is one; it takes no messages.
No monitor needs to run.

With --once and --json it listens for three seconds first. Keys: q quits,
p pauses, s sorts by load or by name. NO_COLOR switches colours off.

Examples:

    ` + term.ProgramName + ` top
    ` + term.ProgramName + ` top --once
    ` + term.ProgramName + ` top --json | jq .findings`
}

// listenFor is the time that a single look listens to events.
const listenFor = 3 * time.Second

// source is what is shown. [app.Overview] is one.
type source interface {
	Run(ctx context.Context) error
	Refresh(ctx context.Context)
	Summary() *summary.Summary
}

// Run shows the overview until q or a signal.
func (c Cmd) Run(ctx context.Context, t term.Terminal) error {
	ctx, stop := signal.NotifyContext(ctx, app.StopSignals()...)
	defer stop()
	cfg, err := app.LoadBroker(ctx)
	if err != nil {
		return err
	}
	o, err := app.OpenOverview(cfg)
	if err != nil {
		return err
	}
	defer o.Close()
	d := display{in: t.In, out: t.Out, source: cfg.Redis.String()}
	if c.Once || c.JSON || !d.interactive() {
		return d.once(ctx, o, c.JSON)
	}
	return d.watch(ctx, o)
}

// display is the terminal.
type display struct {
	in, out *os.File
	source  string
	sort    order
	paused  bool
	last    *summary.Summary
	shown   []byte
}

func (d *display) interactive() bool {
	kind := os.Getenv("TERM")
	return xterm.IsTerminal(int(d.in.Fd())) && xterm.IsTerminal(int(d.out.Fd())) && kind != "" && kind != "dumb"
}

// beside runs a source while do runs.
func beside(ctx context.Context, s source, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error {
		defer cancel()
		return do(ctx)
	})
	return g.Wait()
}

// once prints one summary.
func (d *display) once(ctx context.Context, s source, asJSON bool) error {
	var now *summary.Summary
	err := beside(ctx, s, func(ctx context.Context) error {
		timer := time.NewTimer(listenFor)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		s.Refresh(ctx)
		now = s.Summary()
		return nil
	})
	if err != nil {
		return err
	}
	if asJSON {
		err = term.PrintJSON(d.out, now)
	} else {
		c := screen{width: max(80, term.Columns(d.out)), source: d.source}
		_, err = io.WriteString(d.out, strings.Join(draw(now, c), "\n")+"\n")
	}
	if err == nil && now.Queues.Fault != "" {
		return fmt.Errorf("redis does not answer: %s", now.Queues.Fault)
	}
	return err
}

// Sequences of the terminal: the other screen and no cursor, and back.
const (
	enter = "\x1b[?1049h\x1b[?25l\x1b[2J"
	leave = "\x1b[?25h\x1b[?1049l"
)

// watch draws until the key q or the end of ctx.
func (d *display) watch(ctx context.Context, s source) error {
	before, err := xterm.MakeRaw(int(d.in.Fd()))
	if err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	defer xterm.Restore(int(d.in.Fd()), before)
	if _, err := io.WriteString(d.out, enter); err != nil {
		return err
	}
	defer io.WriteString(d.out, leave)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH) // it interrupts the wait for a key
	defer signal.Stop(resized)
	return beside(ctx, s, func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := d.draw(s); err != nil {
				return err
			}
			keys, err := d.keys()
			if err != nil || !d.press(keys) {
				return err
			}
		}
		return nil
	})
}

// press does what keys are for. It reports false for the ones that quit.
func (d *display) press(keys []byte) bool {
	const controlC, controlD, escape = 3, 4, '\x1b'
	if len(keys) > 1 && keys[0] == escape {
		return true // an arrow or another key with a name
	}
	for _, key := range keys {
		switch key {
		case 'q', 'Q', controlC, controlD:
			return false
		case 'p', 'P', ' ':
			d.paused = !d.paused
		case 's', 'S':
			d.sort = (d.sort + 1) % orders
		}
	}
	return true
}

// drawEvery is the longest time between two looks at the summary and the size of the terminal.
const drawEvery = 200 * time.Millisecond

// keys waits for keys for a moment.
func (d *display) keys() ([]byte, error) {
	fds := []unix.PollFd{{Fd: int32(d.in.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(drawEvery.Milliseconds()))
	if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wait for a key: %w", err)
	}
	keys := make([]byte, 32)
	n, err = d.in.Read(keys)
	if err != nil || n == 0 {
		return []byte("q"), nil // the terminal is gone
	}
	return keys[:n], nil
}

// draw draws the summary, if anything has changed.
func (d *display) draw(s source) error {
	if !d.paused || d.last == nil {
		d.last = s.Summary()
	}
	width, height, err := xterm.GetSize(int(d.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	frame := d.frame(width, height)
	if bytes.Equal(frame, d.shown) {
		return nil
	}
	d.shown = frame
	_, err = d.out.Write(frame)
	return err
}

// frame returns what a terminal of this size is sent.
func (d *display) frame(width, height int) []byte {
	c := screen{
		width: width, height: height, colour: os.Getenv("NO_COLOR") == "", paused: d.paused, sort: d.sort, source: d.source, keys: true,
	}
	var b bytes.Buffer
	b.WriteString("\x1b[H")
	for i, l := range draw(d.last, c) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	return b.Bytes()
}
