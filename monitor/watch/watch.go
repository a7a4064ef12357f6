// Package watch looks at the queues once a second, for all readers at once.
//
// Messages of Celery carry no time of their publication. A look remembers the newest message
// of each list with the time, so that the age of a message is known when it reaches the other
// end, and its wait when a worker takes it. That needs no help of producers or workers.
package watch

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evently/workers/monitor/internal/loop"
	"github.com/evently/workers/worker/broker"
)

// Source looks at the lists of queues. The Queues of worker/redis are one.
type Source interface {
	// Lists returns the lists of queues, in the order of the queues, the most urgent one first.
	Lists(queues ...string) []broker.QueueList
	// Look looks at lists in one round trip. It takes nothing.
	Look(ctx context.Context, looks []broker.ListLook) (broker.QueueLook, error)
	// Bound looks at a part of the database for queues that producers have declared. It returns
	// where to go on, "" after the last part.
	Bound(ctx context.Context, cursor string) (names []string, next string, err error)
}

// Remedier is a Source that knows what to do about errors of its looks.
type Remedier interface {
	// Remedy tells in a clause the cause of an error and what to do, "" if it does not know.
	Remedy(err error) string
}

// Config describes a Watch. All fields but Source may be zero.
type Config struct {
	Source Source
	// Queues are the queues of the configuration. They are always watched.
	Queues []string
	// Consumers returns the queues that live workers consume, with the names of their nodes,
	// and the number of workers that answered.
	// nil: only Queues and declared ones are watched. It may take long.
	Consumers func(ctx context.Context) (consumers map[string][]string, answered int, err error)
	// Pauses returns the paused ones of some queues.
	Pauses func(ctx context.Context, queues ...string) (map[string]broker.Pause, error)
	// Declared searches the database for queues that producers have declared, a thousand keys a
	// second.
	Declared bool
	// Interval is the time between two looks. Default: a second. A worker that watches only its
	// own queues may look less often; ages are less exact then.
	Interval time.Duration
	Logger   *slog.Logger
	Now      func() time.Time
}

const (
	// MostQueues bounds the watched queues. The ones of the configuration come first.
	MostQueues = 200
	// askInterval is the time between two questions to the workers.
	askInterval = 15 * time.Second
	// pauseInterval is the time between two looks for pauses.
	pauseInterval = 2 * time.Second
	// searchPause is the time between two searches for declared queues.
	searchPause = time.Minute
	// patience bounds one look.
	patience = 5 * time.Second
)

// Watch looks at queues. Make one with New. Many goroutines may read it.
type Watch struct {
	cfg    Config
	state  atomic.Pointer[State]
	series *series
	names  *names
	pauses atomic.Pointer[map[string]broker.Pause]
	taken  taken

	answered atomic.Int64 // workers that told which queues they consume, when they were asked last

	// Used by the goroutine of the looks only.
	trackers map[broker.QueueList]*tracker
	waits    map[string]*Waits
	totals   map[string]*total
}

// total counts the messages of a queue since the first look. unseen ones are those of taken.go.
type total struct{ in, out, unseen int64 }

// New returns a Watch that has not looked yet.
func New(cfg Config) *Watch {
	cfg.Interval = cmp.Or(cfg.Interval, time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	w := &Watch{
		cfg: cfg, series: newSeries(max(2, int(Span/cfg.Interval))), names: newNames(cfg.Queues),
		trackers: map[broker.QueueList]*tracker{}, waits: map[string]*Waits{}, totals: map[string]*total{},
	}
	w.state.Store(&State{Unacked: -1})
	return w
}

// State returns the latest state. The caller must not change it.
func (w *Watch) State() *State { return w.state.Load() }

// Samples returns the series of a queue after a time, the oldest sample first.
func (w *Watch) Samples(queue string, after time.Time) []Sample {
	return w.series.samples(queue, after)
}

// Interval returns the time between two looks.
func (w *Watch) Interval() time.Duration { return w.cfg.Interval }

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	defer loops.Wait()
	if w.cfg.Consumers != nil {
		loops.Go(func() { loop.Every(ctx, askInterval, w.askWorkers) })
	}
	if w.cfg.Pauses != nil {
		loops.Go(func() { loop.Every(ctx, pauseInterval, w.readPauses) })
	}
	if _, ok := w.cfg.Source.(Counter); ok {
		loops.Go(func() { loop.Every(ctx, min(takenInterval, 3*w.cfg.Interval), w.readTaken) })
	}
	if w.cfg.Declared {
		loops.Go(func() { loop.Every(ctx, searchPause, w.search) })
	}
	loop.Every(ctx, w.cfg.Interval, w.Look)
	return nil
}

// askWorkers asks the workers which queues they consume.
func (w *Watch) askWorkers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if found, answered, err := w.cfg.Consumers(ctx); err == nil {
		w.names.consumed(found)
		w.answered.Store(int64(answered))
	} else if ctx.Err() == nil {
		w.cfg.Logger.Debug("workers could not be asked for their queues", "error", err)
	}
}

// readPauses reads which queues are paused.
func (w *Watch) readPauses(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	queues, _ := w.names.list()
	if found, err := w.cfg.Pauses(ctx, queues...); err == nil {
		w.pauses.Store(&found)
	}
}

// search searches the whole database for declared queues, in small steps.
func (w *Watch) search(ctx context.Context) {
	var found []string
	for cursor := ""; ; {
		names, next, err := w.cfg.Source.Bound(ctx, cursor)
		if err != nil {
			w.cfg.Logger.Debug("declared queues could not be searched for", "error", err)
			return
		}
		found = append(found, names...)
		if cursor = next; cursor == "" {
			w.names.declared(found)
			return
		}
		w.names.add(names)
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// Look looks once. Run calls it; a caller without Run may call it itself, one call at a time.
func (w *Watch) Look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	queues, left := w.names.list()
	lists := w.cfg.Source.Lists(queues...)
	looks := make([]broker.ListLook, len(lists))
	for i, l := range lists {
		t := w.trackers[l]
		if t == nil {
			t = &tracker{list: l}
			w.trackers[l] = t
		}
		looks[i] = broker.ListLook{QueueList: l, Since: t.since}
	}
	look, err := w.cfg.Source.Look(ctx, looks)
	now := w.cfg.Now()
	before := w.State()
	if err != nil {
		w.failed(before, err)
		return
	}
	next := &State{
		At: now, Skew: look.At.Sub(now), Since: before.Since, Unacked: look.Unacked, Left: left,
		Queues:   w.summarize(now, queues, lists, look.Lists),
		Answered: int(w.answered.Load()),
		Refusal:  look.Refusal, Remedy: look.Remedy,
	}
	if before.Since.IsZero() {
		next.Since = now
	}
	if before.Fault != "" {
		w.cfg.Logger.Info("queues answer again")
	}
	w.logRefusal(before.Refusal, next)
	w.state.Store(next)
	w.forget(queues)
}

// logRefusal logs when the broker begins to refuse writes, and when it takes them again.
func (w *Watch) logRefusal(before string, now *State) {
	switch {
	case now.Refusal != "" && before == "":
		w.cfg.Logger.Warn("redis refuses writes: nothing can be published or taken", "reply", now.Refusal, "remedy", now.Remedy)
	case now.Refusal == "" && before != "":
		w.cfg.Logger.Info("redis takes writes again")
	}
}

// failed notes a look without an answer. The state of the last answer stays.
func (w *Watch) failed(before *State, err error) {
	next := *before
	next.Fault, next.Refusal, next.Remedy = err.Error(), "", ""
	if r, ok := w.cfg.Source.(Remedier); ok {
		next.Remedy = r.Remedy(err)
	}
	if before.Fault == "" {
		w.cfg.Logger.Warn("queues could not be looked at", "error", err)
	}
	w.state.Store(&next)
}

// summarize takes in the states of the lists.
func (w *Watch) summarize(now time.Time, queues []string, lists []broker.QueueList, states []broker.ListState) []Queue {
	all, consumers := make([]Queue, len(queues)), w.names.consumers()
	each := len(lists) / max(1, len(queues))
	for i, name := range queues {
		q := Queue{Name: name, Consumers: consumers[name], Configured: slices.Contains(w.cfg.Queues, name)}
		var in, out int64
		for j, l := range lists[i*each : (i+1)*each] {
			t, s := w.trackers[l], states[i*each+j]
			m := t.look(now, s)
			in, out = in+m.in, out+m.out
			w.count(name, m)
			q.Broken = q.Broken || s.Messages < 0
			q.Messages += max(0, s.Messages)
			age := t.age(now)
			q.Lists = append(q.Lists, List{Priority: l.Priority, Messages: max(0, s.Messages), Oldest: age})
			q.Oldest = older(q.Oldest, age)
		}
		w.series.add(name, pointOf(now, q, in, out))
		q.In, q.Out = w.series.rates(name, now.Add(-10*time.Second), now)
		q.Empty = w.timeToEmpty(now, q)
		w.addUnseen(&q)
		t := w.totals[name]
		q.Waits, q.Arrived, q.Taken = *w.waits[name], t.in+t.unseen, t.out+t.unseen
		if paused := w.pauses.Load(); paused != nil {
			if p, is := (*paused)[name]; is {
				q.Paused = &p
			}
		}
		all[i] = q
	}
	return all
}

// older returns the greater of two ages. It is a lower bound if one of them is.
func older(a, b Age) Age {
	atLeast := a.AtLeast || b.AtLeast
	if !a.Known || b.Known && b.Seconds > a.Seconds {
		a = b
	}
	a.AtLeast = atLeast
	return a
}

func pointOf(now time.Time, q Queue, in, out int64) point {
	return point{
		at: now.UnixMilli(), messages: int32(min(q.Messages, 1<<31-1)), in: int32(min(in, 1<<31-1)), out: int32(min(out, 1<<31-1)),
		oldest: float32(q.Oldest.Seconds), known: q.Oldest.Known, atLeast: q.Oldest.AtLeast,
	}
}

// timeToEmpty returns when the queue will be empty at the rate of the last minute.
func (w *Watch) timeToEmpty(now time.Time, q Queue) time.Duration {
	in, out := w.series.rates(q.Name, now.Add(-time.Minute), now)
	if q.Messages == 0 || out-in < 0.01 {
		return 0
	}
	seconds := float64(q.Messages) / (out - in)
	if seconds > 1e8 { // three years
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// count adds a movement to the totals of a queue.
func (w *Watch) count(queue string, m movement) {
	if w.waits[queue] == nil {
		w.waits[queue], w.totals[queue] = &Waits{}, &total{}
	}
	for _, one := range m.waits {
		w.waits[queue].add(one)
	}
	w.totals[queue].in += m.in
	w.totals[queue].out += m.out
}

// forget drops what is known of queues that are not watched any more.
func (w *Watch) forget(queues []string) {
	if len(w.totals) <= len(queues) {
		return
	}
	keep := map[string]bool{}
	for _, q := range queues {
		keep[q] = true
	}
	maps.DeleteFunc(w.trackers, func(l broker.QueueList, _ *tracker) bool { return !keep[l.Queue] })
	maps.DeleteFunc(w.waits, func(q string, _ *Waits) bool { return !keep[q] })
	maps.DeleteFunc(w.totals, func(q string, _ *total) bool { return !keep[q] })
	w.series.keep(keep)
}
