package app

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/evently/workers/app/secrets"
	"github.com/evently/workers/config"
)

// endSignals returns the signals that end a process, with a terminal or without one.
func endSignals() []os.Signal {
	return []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}
}

// StopSignals returns the signals that stop the worker. SIGHUP is one of them
// unless the process began with it ignored, as nohup does: such a worker outlives
// its terminal.
func StopSignals() []os.Signal {
	signals := endSignals()
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// IgnoreLostOutput keeps a log that has no reader from ending or freezing the
// process: SIGPIPE is for a pipe without one, SIGTTOU for a terminal that a
// process in the background must not write to. The lines are lost, the work goes
// on, as with Celery.
func IgnoreLostOutput() { signal.Ignore(syscall.SIGPIPE, syscall.SIGTTOU) }

// stopper turns signals into the steps of a stop.
type stopper struct {
	log     *slog.Logger
	stop    func() // begins a warm stop
	stopNow func() // ends the grace period
	look    func() // looks at the sources of secrets and at the templates, at SIGHUP; nil: SIGHUP stops
}

// hangupLooks reports whether SIGHUP means that the sources of secrets and TEMPLATES_DIR should be
// looked at. Where nothing is looked at, or the process has a terminal, which sends the signal when
// it closes, it means a stop.
func hangupLooks(cfg config.Config, k *secrets.Keeper) bool {
	if k.Idle() && cfg.Templates.Dir == "" {
		return false
	}
	return !hasTerminal()
}

// hasTerminal reports whether the process has a controlling terminal. Its input may be another one.
func hasTerminal() bool {
	terminal, err := os.Open("/dev/tty")
	if err == nil {
		terminal.Close()
	}
	return err == nil
}

// hangups ends a context at SIGHUP, or calls a function instead once that is set.
type hangups struct{ look atomic.Pointer[func()] }

// again returns a channel that receives at SIGHUP, while the process has no terminal.
func (h *hangups) again() <-chan struct{} {
	again := make(chan struct{}, 1)
	look := func() {
		select {
		case again <- struct{}{}:
		default: // it will be
		}
	}
	if !hasTerminal() {
		h.look.Store(&look)
	}
	return again
}

// context returns a context that ends at SIGHUP and at the signals that end a process. The caller
// must call stop.
func (h *hangups) context(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := signal.NotifyContext(ctx, endSignals()...)
	signals := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			if look := h.look.Load(); look != nil {
				(*look)()
				continue
			}
			cancel()
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}

// stopOnSignal returns a context that ends with the first signal to stop. The
// second ends the grace period, and SIGQUIT does so as the first; for the third
// the handling is the system's. SIGHUP counts as neither, since a terminal that
// closes sends it by the shell and by the kernel, and a session manager may send
// SIGTERM after it.
func (a *App) stopOnSignal(ctx context.Context, cfg config.Config, log *slog.Logger) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, append(StopSignals(), syscall.SIGUSR1)...)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer signal.Stop(signals)
		s := stopper{log: log, stop: cancel, stopNow: a.shards.StopNow}
		if hangupLooks(cfg, a.keeper) {
			s.look = func() {
				a.keeper.Look()
				a.mails.Reload()
			}
		}
		s.run(signals, done)
	}()
	return ctx, func() {
		close(done)
		<-ended
		cancel()
	}
}

// run handles signals until done is closed.
func (s *stopper) run(signals <-chan os.Signal, done <-chan struct{}) {
	stopping, asked := false, false // asked: by a signal that counts
	for {
		var got os.Signal
		select {
		case got = <-signals:
		case <-done:
			return
		}
		switch {
		case got == syscall.SIGUSR1:
			logStacks(s.log)
			continue
		case got == syscall.SIGHUP && s.look != nil:
			s.log.Info("looking at secrets and templates", "signal", got.String())
			s.look()
			continue
		case got == syscall.SIGQUIT || asked && got != syscall.SIGHUP:
			s.log.Warn("stopping at once", "signal", got.String())
			signal.Reset(endSignals()...)
			s.stop()
			s.stopNow()
		case !stopping:
			s.log.Info("stopping: finishing what runs, giving back the rest", "signal", got.String())
			s.stop()
		}
		stopping, asked = true, asked || got != syscall.SIGHUP
	}
}

// logStacks logs the stacks of all goroutines, without arguments and in one
// entry. Celery's worker prints those of its threads at this signal.
func logStacks(log *slog.Logger) {
	var b strings.Builder
	const groupEqual = 1
	_ = pprof.Lookup("goroutine").WriteTo(&b, groupEqual) // into memory
	log.Info("stacks of all goroutines", "stacks", b.String())
}
