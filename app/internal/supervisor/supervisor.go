// Package supervisor reports to systemd, as sd_notify(3) and sd_watchdog_enabled(3) describe it.
package supervisor

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// usualPause is the time between two reports when systemd has not asked for a shorter one.
const usualPause = 10 * time.Second

// Reporter reports the state of this process until Close. A nil one reports nothing.
type Reporter struct {
	pause time.Duration
	log   *slog.Logger
	end   chan struct{}
	ended chan struct{}

	mu     sync.Mutex
	status func() string // nil: not ready
	failed bool          // a report failed, and that was logged
}

// Start returns a Reporter, or nil when no supervisor listens. The caller must call Close.
func Start(log *slog.Logger) *Reporter {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	r := &Reporter{pause: usualPause, log: log, end: make(chan struct{}), ended: make(chan struct{})}
	// Three reports for each time that systemd allows between two.
	if limit, err := daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("watchdog of systemd cannot be read", "error", err)
	} else if limit > 0 {
		r.pause = min(r.pause, limit/3)
	}
	go r.run()
	return r
}

// Ready reports that the process has begun its work, which it may do while other servers are
// unavailable. Every report has the line that status returns. A status that does not return
// lets the watchdog end the process.
func (r *Reporter) Ready(status func() string) {
	if r == nil {
		return
	}
	r.send(daemon.SdNotifyReady, "STATUS="+line(status()))
	r.mu.Lock()
	r.status = status // reports of the watchdog follow the first one
	r.mu.Unlock()
}

// Stopping reports that the process stops, and that it may need as long as most.
func (r *Reporter) Stopping(most time.Duration) {
	if r != nil {
		r.send(daemon.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", most.Microseconds()))
	}
}

// Close ends the reports.
func (r *Reporter) Close() {
	if r != nil {
		close(r.end)
		<-r.ended
	}
}

func (r *Reporter) run() {
	defer close(r.ended)
	tick := time.NewTicker(r.pause)
	defer tick.Stop()
	for {
		select {
		case <-r.end:
			return
		case <-tick.C:
		}
		r.mu.Lock()
		status := r.status
		r.mu.Unlock()
		if status != nil {
			r.send(daemon.SdNotifyWatchdog, "STATUS="+line(status()))
		}
	}
}

// send sends one report. Only the first failure is logged: nothing else depends on reports.
func (r *Reporter) send(lines ...string) {
	_, err := daemon.SdNotify(false, strings.Join(lines, "\n"))
	r.mu.Lock()
	first := err != nil && !r.failed
	r.failed = err != nil
	r.mu.Unlock()
	if first {
		r.log.Warn("report to systemd failed", "error", err)
	}
}

// line makes one line of a text.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }
