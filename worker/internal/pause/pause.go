// Package pause heeds the pauses of queues that an operator has posted.
package pause

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
)

// Config describes a Keeper.
type Config struct {
	Board    broker.Board    // nil: no queue is ever paused
	QueueSet broker.QueueSet // of the consuming worker
	Queues   func() []string // that the worker would consume; it may change
	Log      *slog.Logger
}

// Keeper stops and starts consuming queues as they are paused and resumed. Make one with New.
type Keeper struct {
	cfg Config

	mu     sync.Mutex
	paused map[string]bool // queues that are not consumed because of a pause
}

// New returns a Keeper of a worker that consumes all its queues.
func New(cfg Config) *Keeper { return &Keeper{cfg: cfg, paused: map[string]bool{}} }

const (
	// lookInterval is the time between two looks at the board.
	lookInterval = time.Second
	// lookQueues is the number of queues that one look may ask for in that time.
	lookQueues = 100
)

// Run heeds pauses until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	if k.cfg.Board == nil {
		return
	}
	var faults backoff.Backoff
	for {
		wait := lookInterval * time.Duration(1+len(k.cfg.Queues())/lookQueues)
		if backoff.Sleep(ctx, wait) != nil {
			return
		}
		if err := k.Sync(ctx); err != nil && ctx.Err() == nil && faults.Report() {
			k.cfg.Log.Warn("pauses of queues unknown, will ask again", "error", err)
		}
	}
}

// Sync looks at the board once, and stops or starts consuming what has changed. A worker calls
// it before its first claim.
func (k *Keeper) Sync(ctx context.Context) error {
	if k.cfg.Board == nil {
		return nil
	}
	queues := k.cfg.Queues()
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = broker.PauseNotice(q)
	}
	notices, err := k.cfg.Board.Posted(ctx, names...)
	if err != nil {
		return fmt.Errorf("ask which queues are paused: %w", err)
	}
	for i, notice := range notices {
		if err := k.set(ctx, queues[i], notice != nil); err != nil {
			return err
		}
	}
	return nil
}

// set stops or starts consuming a queue. A paused one is stopped again each time, because
// remote control may have added it.
func (k *Keeper) set(ctx context.Context, queue string, pause bool) error {
	was := k.Has(queue)
	switch {
	case pause:
		if _, err := k.cfg.QueueSet.CancelQueue(ctx, queue); err != nil {
			return fmt.Errorf("pause the queue %s: %w", queue, err)
		}
	case was:
		if !slices.Contains(k.cfg.Queues(), queue) {
			break // remote control has cancelled it meanwhile
		}
		if _, err := k.cfg.QueueSet.AddQueue(ctx, queue); err != nil {
			return fmt.Errorf("resume the queue %s: %w", queue, err)
		}
	}
	if pause == was {
		return nil
	}
	k.mark(queue, pause)
	if pause {
		k.cfg.Log.Warn("queue paused by an operator", "queue", queue)
	} else {
		k.cfg.Log.Info("queue resumed", "queue", queue)
	}
	return nil
}

func (k *Keeper) mark(queue string, paused bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if paused {
		k.paused[queue] = true
	} else {
		delete(k.paused, queue)
	}
}

// Has reports whether a queue is paused.
func (k *Keeper) Has(queue string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.paused[queue]
}

// Without returns the queues that are not paused.
func (k *Keeper) Without(queues []string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(queues), func(q string) bool { return k.paused[q] })
}

// Names returns the paused queues, sorted.
func (k *Keeper) Names() (names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for q := range k.paused {
		names = append(names, q)
	}
	sort.Strings(names)
	return names
}
