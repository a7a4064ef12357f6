// Package link tracks the health of the connection to the broker.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
)

// Link holds what is known of the broker, and repeats what it refuses. Make one with New.
type Link struct {
	log *slog.Logger

	mu    sync.Mutex
	look  time.Time // last complete look into the queues, or time without room
	fault string    // last error of the broker; "" when it answered since
}

// New returns a Link that logs to log.
func New(log *slog.Logger) *Link { return &Link{log: log} }

// Looked notes a complete look into the queues.
func (l *Link) Looked(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look, l.fault = now, ""
}

// Full notes that there is no room for messages. That is no reason to look into the
// queues, and says nothing of the broker.
func (l *Link) Full(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look = now
}

// Refused notes an error of the broker.
func (l *Link) Refused(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = err.Error()
}

// answered notes that the broker has carried something out.
func (l *Link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = ""
}

// State returns the time of the last look, and the fault of the broker, "" for none.
func (l *Link) State() (look time.Time, fault string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.look, l.fault
}

// Persist repeats op until it succeeds, ctx ends, or op reports that the message is lost.
// A decision must reach the broker, however long that is unavailable.
func (l *Link) Persist(ctx context.Context, what string, op func(context.Context) error) error {
	var b backoff.Backoff
	for {
		err := op(ctx)
		if err == nil || errors.Is(err, broker.ErrLost) {
			if b.Failed() {
				l.answered()
			}
			return err
		}
		l.Refused(fmt.Errorf("%s: %w", what, err))
		if b.Report() {
			l.log.Error("broker refused, will try again", "doing", what, "error", err)
		}
		if !b.Wait(ctx) {
			return err
		}
	}
}
