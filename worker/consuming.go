package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/evently/workers/worker/internal/backoff"
)

// stallAfter is how long consuming may stand still, with free slots, before
// the watchdog drops the broker's connections. It is longer than any call of a
// Broker may take.
const stallAfter = 12 * time.Second

// consuming is how the worker gets along with its broker.
type consuming struct {
	mu    sync.Mutex
	look  time.Time // last complete look into the queues, or of having no room
	fault string    // what the broker said last, "" when it answered
}

// looked notes a look into the queues.
func (c *consuming) looked(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look, c.fault = now, ""
}

// answered notes that the broker has carried something out.
func (c *consuming) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = ""
}

// full notes that there is no room, which is no reason to look and says nothing of
// the broker.
func (c *consuming) full(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look = now
}

func (c *consuming) refused(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = err.Error()
}

func (c *consuming) state() (look time.Time, fault string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look, c.fault
}

// watch notices a consumer that stands still though there is room, which the
// deadlines of the broker should make impossible, and rebuilds its connections.
func (w *Worker) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	rebuilt, exhausted := w.now(), w.pool.Exhausted()
	for {
		select {
		case <-ctx.Done():
			return
		case <-exhausted:
			exhausted = nil
			w.log.Info("task limit reached, shutting down", "tasks", w.cfg.MaxTasks)
			w.recycle()
			continue
		case <-tick.C:
		}
		look, fault := w.consuming.state()
		if rebuilt.After(look) {
			look = rebuilt
		}
		if still := w.now().Sub(look); still > stallAfter && fault == "" && w.hasRoom() {
			w.log.Error("consuming stands still, connections are rebuilt", "for", still.Round(time.Second).Seconds())
			w.broker.Reset()
			rebuilt = w.now()
		}
	}
}

// persist repeats op until it succeeds, ctx ends, or op says that the message
// is not ours. What was decided must reach the broker, however long it is away.
func (w *Worker) persist(ctx context.Context, what string, op func(context.Context) error) error {
	var b backoff.Backoff
	for {
		err := op(ctx)
		if err == nil || err == ErrLost {
			if b.Failed() {
				w.consuming.answered()
			}
			return err
		}
		w.consuming.refused(fmt.Errorf("%s: %w", what, err))
		if b.Report() {
			w.log.Error("broker refused, will try again", "doing", what, "error", err)
		}
		if !b.Wait(ctx) {
			return err
		}
	}
}
