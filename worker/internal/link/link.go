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
	log     *slog.Logger
	faulter broker.Faulter // nil: the broker does not implement it
	replier replier        // the same

	mu        sync.Mutex
	look      time.Time // last complete look into the queues, or time without room
	last      Fault
	refusedAt time.Time // when a wait was refused last; zero: last is about another fault
}

// replier is a broker that knows the replies of its server.
type replier interface{ IsReply(err error) bool }

// happened names an error of the broker for the log.
func (l *Link) happened(err error) string {
	if l.replier != nil && l.replier.IsReply(err) || l.faulter != nil && l.faulter.Refusal(err) != "" {
		return "broker refused, will try again"
	}
	return "broker unavailable, will try again"
}

// Fault is the last error of the broker. It is zero when the broker has answered since.
type Fault struct {
	Text    string
	Refusal string // see [broker.Faulter]
}

// New returns a Link that logs to log. faulter may be nil.
func New(log *slog.Logger, faulter broker.Faulter) *Link {
	replies, _ := faulter.(replier)
	return &Link{log: log, faulter: faulter, replier: replies}
}

// Looked notes a complete look into the queues.
func (l *Link) Looked(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look, l.last, l.refusedAt = now, Fault{}, time.Time{}
}

// ProofTime is the time without a refused wait after which a server counts as writable again.
// A wait is refused within a second.
const ProofTime = 2 * time.Second

// LookedEmpty notes a complete look that has found nothing, and reports whether the broker is
// fine. A server that refuses writes answers such a look, so its refusal of a wait stays for
// ProofTime.
func (l *Link) LookedEmpty(now time.Time) (fine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look = now
	if !l.refusedAt.IsZero() && now.Sub(l.refusedAt) < ProofTime {
		return false
	}
	l.last, l.refusedAt = Fault{}, time.Time{}
	return true
}

// WaitRefused notes an error of a wait for messages.
func (l *Link) WaitRefused(now time.Time, err error) {
	l.Refused(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.Refusal != "" {
		l.refusedAt = now
	}
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
	f := Fault{Text: err.Error()}
	if l.faulter != nil {
		f.Refusal = l.faulter.Refusal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.refusedAt = f, time.Time{}
}

// answered notes that the broker has carried something out.
func (l *Link) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.refusedAt = Fault{}, time.Time{}
}

// State returns the time of the last look, and the fault of the broker.
func (l *Link) State() (look time.Time, last Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.look, l.last
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
			l.log.Error(l.happened(err), "doing", what, "error", err)
		}
		if !b.Wait(ctx) {
			return err
		}
	}
}
