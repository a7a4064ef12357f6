package watch

import (
	"context"
	"sync"
	"time"
)

// Counter tells how many messages workers have taken. A Source may be one. Without it messages
// that come and go between two looks are not counted.
type Counter interface {
	// Taken returns the messages that each worker has taken from its queues since its start,
	// by an id of the worker.
	Taken(ctx context.Context) (map[string]map[string]int64, error)
}

const (
	// takenInterval is the time between two questions. Workers tell every three seconds.
	takenInterval = 3 * time.Second
	// takenSpan is the time over which the rate is taken.
	takenSpan = 5
)

// taken counts the messages that workers have told to have taken, since the first question.
type taken struct {
	mu      sync.Mutex
	workers map[string]map[string]int64 // what each has told last; nil before the first answer
	totals  map[string]int64
	recent  []takenAt // the last questions, oldest first
}

// takenAt are the totals at a time.
type takenAt struct {
	at     time.Time
	totals map[string]int64
}

// learn takes in an answer.
func (t *taken) learn(at time.Time, workers map[string]map[string]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.workers == nil
	totals := map[string]int64{}
	for q, n := range t.totals {
		totals[q] = n
	}
	for id, counts := range workers {
		for q, n := range counts {
			// A worker that is new since the last question has started since.
			if before := t.workers[id][q]; !first && n > before {
				totals[q] += n - before
			}
		}
	}
	t.workers, t.totals = workers, totals
	if t.recent = append(t.recent, takenAt{at, totals}); len(t.recent) > takenSpan+1 {
		t.recent = t.recent[1:]
	}
}

// of returns the messages that were taken from a queue since the first answer, and the rate of
// the last seconds.
func (t *taken) of(queue string) (total int64, rate float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.recent) < 2 {
		return t.totals[queue], 0
	}
	first, last := t.recent[0], t.recent[len(t.recent)-1]
	return t.totals[queue], float64(last.totals[queue]-first.totals[queue]) / max(1, last.at.Sub(first.at).Seconds())
}

// readTaken asks how many messages workers have taken.
func (w *Watch) readTaken(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, ok := w.cfg.Source.(Counter)
	if !ok {
		return
	}
	if found, err := c.Taken(ctx); err == nil {
		w.taken.learn(w.cfg.Now(), found)
	}
}

// addUnseen adds the messages that workers have taken between two looks, so that no look has
// seen them: they have waited for less than a second.
func (w *Watch) addUnseen(q *Queue) {
	told, rate := w.taken.of(q.Name)
	t := w.totals[q.Name]
	if unseen := told - t.out - t.unseen; unseen > 0 {
		t.unseen += unseen
		w.waits[q.Name].Counts[0] += uint64(unseen)
	}
	if rate > q.Out {
		q.In = max(q.In, rate+q.In-q.Out)
		q.Out = rate
	}
}
