package worker

import (
	"context"
	"math/rand/v2"
	"time"
)

// retryPause is the backoff against a broker in trouble: from 20 ms to one
// second, with jitter, so that many workers do not come back in step.
type retryPause struct {
	n        int
	reported time.Time
}

// sleep waits and reports whether ctx is still alive.
func (p *retryPause) sleep(ctx context.Context) bool {
	d := min(20*time.Millisecond<<min(p.n, 6), time.Second)
	p.n++
	return waitFor(ctx, d/2+rand.N(d/2+1)) == nil
}

// report limits the log to the first fault and one in ten seconds from there.
func (p *retryPause) report() bool {
	if time.Since(p.reported) < 10*time.Second {
		return false
	}
	p.reported = time.Now()
	return true
}

func (p *retryPause) reset() { *p = retryPause{} }

// waitFor returns after d, or with the error of ctx when that ends before.
func waitFor(ctx context.Context, d time.Duration) error {
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
