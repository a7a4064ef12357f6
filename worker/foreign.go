package worker

import (
	"context"
	"sync"
	"time"

	"github.com/evently/workers/worker/internal/backoff"
)

// foreign keeps a worker from going round and round a queue of tasks that only
// others know: each is put to the end of the queue, so after one turn the first
// comes again. Then it is left to the others for a while.
type foreign struct {
	mu    sync.Mutex
	first string // id of the first one met in this turn
	began time.Time
	turn  time.Duration // of the complete turn; 0: none
}

// Bounds of the pause after a turn, which is twice as long as the turn was.
const (
	shortestTurn = 200 * time.Millisecond
	longestTurn  = 2 * time.Second
)

// met notes a task of others.
func (f *foreign) met(id string, now time.Time) {
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

// empty notes that there is nothing in the queues.
func (f *foreign) empty() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first = ""
}

// rest waits after a complete turn.
func (f *foreign) rest(ctx context.Context) {
	f.mu.Lock()
	turn := f.turn
	f.turn = 0
	f.mu.Unlock()
	if turn == 0 {
		return
	}
	_ = backoff.Sleep(ctx, min(max(2*turn, shortestTurn), longestTurn)) // the caller asks ctx
}
