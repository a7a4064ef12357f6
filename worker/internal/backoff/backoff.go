// Package backoff waits between attempts against a broker that refuses or does not answer.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Bounds of the pause between two attempts, and of the log.
const (
	first       = 20 * time.Millisecond
	last        = time.Second
	reportEvery = 10 * time.Second
)

// Backoff is the pause after failed attempts: it doubles from 20 ms to one second. The
// jitter, of half of it, keeps many workers from returning in step. The zero Backoff is
// ready for use, by one goroutine.
type Backoff struct {
	failures int
	reported time.Time
}

// Wait waits for the next pause. It reports whether ctx is still alive.
func (b *Backoff) Wait(ctx context.Context) bool {
	d := min(first<<min(b.failures, 6), last)
	b.failures++
	return Sleep(ctx, d/2+rand.N(d/2+1)) == nil
}

// Failed reports whether there was a failure since the last Reset.
func (b *Backoff) Failed() bool { return b.failures > 0 }

// Report reports whether a failure should be logged: the first one, and then one in ten
// seconds.
func (b *Backoff) Report() bool {
	if time.Since(b.reported) < reportEvery {
		return false
	}
	b.reported = time.Now()
	return true
}

// Reset starts again after a success.
func (b *Backoff) Reset() { *b = Backoff{} }

// Sleep returns after d, or with the error of ctx if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
