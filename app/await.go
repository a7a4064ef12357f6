package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evently/workers/app/internal/supervisor"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
)

// errStopped ends a process that was told to stop before it could begin.
var errStopped = errors.New("stopped")

// Pauses between two questions to Zero. Zero may ask for longer ones.
const (
	zeroPause    = time.Second
	zeroPauseMax = time.Minute
	zeroWaitMax  = 5 * time.Minute

	reportEvery = 10 * time.Second // of the log, while the reason is the same
)

// awaitConfig reads the configuration for a worker. While Zero is unavailable it waits, as for
// every other part, and the health server says so. The caller must close the early server, nil
// or not.
func awaitConfig(ctx context.Context, output *os.File, reports *supervisor.Reporter) (config.Config, *earlyHealth, error) {
	var hangup hangups
	ctx, free := hangup.context(ctx)
	defer free()
	var early *earlyHealth
	var again <-chan struct{}
	if config.AsksZero(nil) {
		early, again = startEarlyHealth(ctx, NewLogger(output, config.Service{})), hangup.again()
	}
	cfg, err := waitForConfig(ctx, output, again, func(reason string) {
		early.tell(reason)
		reports.Ready(func() string { return "no configuration: secrets service unavailable (" + reason + ")" })
	})
	if err != nil {
		early.close()
		return cfg, nil, err
	}
	return cfg, early, nil
}

// waitForConfig reads the configuration. While Zero is unavailable it waits until ctx ends, and
// then returns errStopped. It asks a Zero that cannot be reached once a second, and one that
// answers with faults less and less often, or when again receives. told hears the reason of
// each wait.
func waitForConfig(ctx context.Context, output *os.File, again <-chan struct{}, told func(reason string)) (config.Config, error) {
	var reported time.Time
	var summary string
	for tries := 0; ; tries++ {
		cfg, err := LoadConfig(ctx)
		if err == nil {
			return cfg, nil
		}
		if ctx.Err() != nil {
			return cfg, errStopped
		}
		unavailable, waits := errors.AsType[*config.ZeroError](err)
		if !waits {
			return cfg, err
		}
		if unavailable.Unreached {
			tries = 0
		}
		pause := pauseBefore(tries, unavailable.Wait)
		told(unavailable.Summary)
		log := NewLogger(output, config.Service{})
		if unavailable.Summary != summary || time.Since(reported) >= reportEvery {
			reported, summary = time.Now(), unavailable.Summary
			log.Error("no configuration yet, will try again", "error", err, "pause", pause.Round(time.Millisecond).Seconds())
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-again:
			log.Info("asking for the configuration now", "signal", syscall.SIGHUP.String())
		}
		timer.Stop()
	}
}

// pauseBefore returns the pause before the next question: twice the last one,
// spread by a fifth, or as long as Zero asks.
func pauseBefore(tries int, asked time.Duration) time.Duration {
	pause := min(zeroPause<<min(tries, 10), zeroPauseMax)
	pause += time.Duration((rand.Float64()*0.4 - 0.2) * float64(pause))
	return max(pause, min(asked, zeroWaitMax))
}

// earlyHealth is the health server of a process that waits for its configuration.
// A nil one serves nothing.
type earlyHealth struct {
	addr     string
	listener *lentListener
	reason   atomic.Pointer[string]
	end      context.CancelFunc
	ended    chan struct{}
}

// startEarlyHealth listens where the environment says. It returns nil when there
// is no health server, or none is possible: the configuration will tell.
func startEarlyHealth(ctx context.Context, log *slog.Logger) *earlyHealth {
	addr, err := config.HealthAddr(nil)
	if err != nil || addr == "" {
		return nil
	}
	l, err := listen(ctx, addr)
	if err != nil {
		log.Warn("no health server while the configuration is fetched", "error", err)
		return nil
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		l.Close()
		return nil
	}
	e := &earlyHealth{addr: addr, listener: &lentListener{TCPListener: tcp}, ended: make(chan struct{})}
	e.tell("not asked yet")
	ctx, e.end = context.WithCancel(context.WithoutCancel(ctx))
	health, err := monitor.NewHealth(monitor.HealthConfig{Listener: e.listener, Worker: e.state, Logger: log})
	if err != nil {
		l.Close()
		return nil
	}
	go func() {
		defer close(e.ended)
		_ = health.Run(ctx) // its listener is looked at again in handOver
	}()
	return e
}

// tell notes why there is no configuration yet.
func (e *earlyHealth) tell(summary string) {
	if e != nil {
		reason := fmt.Sprintf("configuration: secrets service unavailable (%s)", summary)
		e.reason.Store(&reason)
	}
}

func (e *earlyHealth) state() monitor.WorkerState {
	return monitor.WorkerState{State: "waiting", Waits: *e.reason.Load()}
}

// stop ends the server and leaves its port open.
func (e *earlyHealth) stop() {
	e.end()
	<-e.ended
}

// handOver returns a listener on addr: the port that is open already, so that no
// other process can take it, unless the configuration names another one.
func (e *earlyHealth) handOver(ctx context.Context, addr string) (net.Listener, error) {
	if e == nil || e.addr != addr {
		e.close()
		return listen(ctx, addr)
	}
	e.stop()
	l := e.listener.TCPListener
	e.listener = nil
	if err := l.SetDeadline(time.Time{}); err != nil {
		l.Close()
		return nil, fmt.Errorf("HEALTH_ADDR: listen on %s: %w", addr, err)
	}
	return l, nil
}

// close ends the server and closes the port, unless it was handed over.
func (e *earlyHealth) close() {
	if e == nil || e.listener == nil {
		return
	}
	e.stop()
	_ = e.listener.TCPListener.Close()
	e.listener = nil
}

// lentListener is a port that stays open when its server ends.
type lentListener struct {
	*net.TCPListener
	closed atomic.Bool
}

// Accept implements [net.Listener].
func (l *lentListener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && l.closed.Load() {
		return nil, net.ErrClosed
	}
	return c, err
}

// Close ends Accept. Connections that come from now on wait for the next server.
func (l *lentListener) Close() error {
	l.closed.Store(true)
	return l.SetDeadline(time.Now())
}
