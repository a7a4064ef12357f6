// Package rotation slows down a worker that requeues the tasks of others.
package rotation

import (
	"context"
	"sync"
	"time"

	"github.com/evently/workers/worker/internal/backoff"
)

// Rotation notices that the same unknown task came again. A worker that puts unknown tasks
// to the end of the queue would otherwise go round the queue without a pause.
type Rotation struct {
	mu    sync.Mutex
	first string // id of the first unknown task of this turn
	began time.Time
	turn  time.Duration // of the last complete turn; 0: none
}

// Bounds of the pause after a turn, which is twice as long as the turn was.
const (
	shortest = 200 * time.Millisecond
	longest  = 2 * time.Second
)

// Requeued notes an unknown task that was put to the end of its queue.
func (f *Rotation) Requeued(id string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.first {
	case "":
		f.first, f.began = id, now
	case id:
		f.turn = max(now.Sub(f.began), 1)
		f.first = ""
	}
}

// Empty notes that the queues are empty.
func (f *Rotation) Empty() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first = ""
}

// Rest waits after a complete turn, or until ctx ends.
func (f *Rotation) Rest(ctx context.Context) {
	if turn := f.takeTurn(); turn > 0 {
		_ = backoff.Sleep(ctx, min(max(2*turn, shortest), longest)) // the caller asks ctx
	}
}

func (f *Rotation) takeTurn() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	turn := f.turn
	f.turn = 0
	return turn
}
