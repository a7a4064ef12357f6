// Package loop does steps in intervals.
package loop

import (
	"context"
	"time"
)

// Every calls step at once and then in intervals, until ctx ends. A step that takes longer than
// the interval is followed at once by the next one.
func Every(ctx context.Context, interval time.Duration, step func(context.Context)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		step(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
