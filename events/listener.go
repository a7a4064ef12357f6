package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

// Feed carries the events. [redis.Broker] is one.
type Feed interface {
	// Subscribe calls the functions of s until ctx ends, and returns nil then.
	Subscribe(ctx context.Context, s redis.Subscription) error
}

// Dictionary keeps the names of events. [redis.Dictionary] is one.
type Dictionary interface {
	Get(ctx context.Context, key string) (string, error)
	Set(ctx context.Context, key, text string) error
	Age(ctx context.Context, key string) error
}

// Sender publishes tasks. [worker.Client] is one.
type Sender interface {
	// SendOnce publishes a task, unless one was published under that name before.
	SendOnce(ctx context.Context, name string, s *canvas.Signature) (*worker.AsyncResult, error)
}

// NamesMax is the number of names of events that are kept.
const NamesMax = 50_000

// DictionaryName is the name of the Dictionary.
const DictionaryName = "event_names"

const (
	// waitingMost and waitingBytes bound the events that were heard and are no tasks yet,
	// because Redis is busy or unavailable.
	waitingMost, waitingBytes = 20_000, 32 << 20
	// drainMost is how long events that were heard before a stop may take.
	drainMost = 3 * time.Second
	// againLeast and againMost bound the pause before an event is tried again.
	againLeast, againMost = 50 * time.Millisecond, time.Second
	// complainEvery is the pause between two log lines about the same trouble.
	complainEvery = 10 * time.Second
)

// Config describes a Listener.
type Config struct {
	Channels []Channel // at least one
	Feed     Feed
	Names    Dictionary
	Sender   Sender
	Queue    string // of the tasks
	// Delay is how long a task waits for that of the producer, which has more data.
	Delay  time.Duration
	Logger *slog.Logger
}

// Listener hears events and publishes their tasks. Make one with New.
type Listener struct {
	cfg     Config
	byName  map[string]*Channel
	waiting chan heard
	bytes   atomic.Int64 // of what waits
	metrics *Metrics
	status  statusKeeper

	refusals refusals
}

// heard is an event that waits.
type heard struct {
	channel string
	raw     []byte
}

// New checks cfg and returns a Listener.
func New(cfg Config) (*Listener, error) {
	if len(cfg.Channels) == 0 || cfg.Feed == nil || cfg.Names == nil || cfg.Sender == nil || cfg.Queue == "" || cfg.Logger == nil {
		return nil, errors.New("events: Config lacks a field")
	}
	l := &Listener{cfg: cfg, byName: map[string]*Channel{}, waiting: make(chan heard, waitingMost), metrics: newMetrics()}
	for i := range cfg.Channels {
		l.byName[cfg.Channels[i].Name] = &cfg.Channels[i]
	}
	l.status.left = time.Now()
	return l, nil
}

// Metrics returns the metrics of the listener.
func (l *Listener) Metrics() *Metrics { return l.metrics }

// Run listens until ctx ends, and then publishes the tasks of what was heard before.
func (l *Listener) Run(ctx context.Context) error {
	channels := append(Names(l.cfg.Channels), eventCreated, eventUpdated, eventDeleted)
	sort.Strings(channels)
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(l.waiting)
		return l.cfg.Feed.Subscribe(ctx, redis.Subscription{
			Name: nameOf(channels), Channels: channels,
			Message: l.hear, Joined: l.joined, Left: l.left, Heard: l.gaps,
		})
	})
	g.Go(func() error {
		stop := context.AfterFunc(ctx, func() { time.AfterFunc(drainMost, end) })
		defer stop()
		for h := range l.waiting {
			l.handle(work, h)
			l.bytes.Add(-int64(len(h.raw)))
		}
		return nil
	})
	return g.Wait()
}

// nameOf returns the name of the subscribers to channels: those to others do not stand in for
// them.
func nameOf(channels []string) string {
	sum := sha256.Sum256([]byte(strings.Join(channels, " ")))
	return "events." + hex.EncodeToString(sum[:6])
}

// hear takes an event in. It must not wait for Redis, which drops a subscriber that does not
// read.
func (l *Listener) hear(channel string, raw []byte) {
	if len(raw) > MaxSize {
		l.refuse(channel, len(raw), &ParseError{Reason: TooLarge})
		return
	}
	if l.bytes.Add(int64(len(raw))) > waitingBytes {
		l.bytes.Add(-int64(len(raw)))
		l.drop(channel, "too many events wait for Redis")
		return
	}
	select {
	case l.waiting <- heard{channel, raw}:
	default:
		l.bytes.Add(-int64(len(raw)))
		l.drop(channel, "too many events wait for Redis")
	}
}

// handle does what an event asks for, and tries again until Redis takes it or ctx ends.
func (l *Listener) handle(ctx context.Context, h heard) {
	var act func(context.Context) (outcome string, err error)
	var err error
	if c := l.byName[h.channel]; c != nil {
		var m Mail
		m, err = c.Parse(h.raw)
		act = func(ctx context.Context) (string, error) { return l.publish(ctx, c, m) }
	} else {
		var n named
		n, err = parseName(h.channel, h.raw)
		act = func(ctx context.Context) (string, error) { return outcomeLearned, l.learn(ctx, n) }
	}
	if e, ok := errors.AsType[*ParseError](err); ok {
		l.refuse(h.channel, len(h.raw), e)
		return
	}
	for pause := againLeast; ; pause = min(2*pause, againMost) {
		outcome, err := act(ctx)
		if err == nil {
			l.metrics.count(h.channel, outcome)
			l.status.took(outcome)
			return
		}
		if ctx.Err() == nil && l.status.complains() {
			l.cfg.Logger.Warn("event cannot become a task, will try again", "channel", h.channel, "waiting", len(l.waiting), "error", err)
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			l.drop(h.channel, "the worker stopped while Redis did not take it")
			return
		}
	}
}

// publish makes the task of an event, unless another worker has.
func (l *Listener) publish(ctx context.Context, c *Channel, m Mail) (outcome string, err error) {
	if m.EventID != "" {
		name, err := l.cfg.Names.Get(ctx, m.EventID)
		if err != nil {
			return "", err
		}
		if name != "" {
			m.Data["event_name"] = quote(name)
		}
	}
	data := make(map[string]any, len(m.Data))
	for key, raw := range m.Data {
		data[key] = protocol.Raw(raw)
	}
	task := canvas.New(tasks.Module+"."+c.Task, m.UserID, data).Set(canvas.Options{
		TaskID: m.ID, Queue: l.cfg.Queue, Countdown: l.cfg.Delay, Headers: map[string]any{tasks.EventHeader: c.Name},
	})
	_, err = l.cfg.Sender.SendOnce(ctx, "event."+m.ID, task)
	switch {
	case errors.Is(err, worker.ErrRepeated):
		return outcomeKnown, nil
	case err != nil:
		return "", err
	}
	l.cfg.Logger.Info("event became a task", "channel", c.Name, "task_id", m.ID, "delay", l.cfg.Delay.Seconds())
	return outcomeQueued, nil
}

// learn keeps the name of an event. That of a deleted one stays until its place is needed, because
// cancellations follow.
func (l *Listener) learn(ctx context.Context, n named) error {
	if n.deleted {
		return l.cfg.Names.Age(ctx, n.id)
	}
	return l.cfg.Names.Set(ctx, n.id, n.name)
}

// refuse counts an event that nothing can be made of. Its content is not logged, and of a flood the
// first one and one in ten seconds are.
func (l *Listener) refuse(channel string, size int, e *ParseError) {
	l.metrics.refuse(channel, e.Reason)
	l.status.took(outcomeRefused)
	if before, tell := l.refusals.tell(refusal{channel, *e}); tell {
		l.cfg.Logger.Warn("event refused", "channel", channel, "reason", e.Reason, "field", e.Field, "size", size, "same_before", before)
	}
}

// drop counts an event that is lost for this worker.
func (l *Listener) drop(channel, why string) {
	l.metrics.count(channel, outcomeDropped)
	if l.status.dropped() {
		l.cfg.Logger.Error("event dropped: "+why, "channel", channel)
	}
}

func (l *Listener) joined() {
	away, first := l.status.join()
	l.metrics.listen(true)
	if first {
		l.cfg.Logger.Info("listening to events", "channels", Names(l.cfg.Channels), "delay", l.cfg.Delay.Seconds())
		return
	}
	l.cfg.Logger.Warn("listening to events again; this worker has missed those in between", "after", away.Seconds())
}

func (l *Listener) left(err error) {
	l.metrics.listen(false)
	if l.status.leave(err) {
		l.cfg.Logger.Warn("not listening to events, will try again", "error", err)
	}
}

// gaps tells of a period in which no worker has listened.
func (l *Listener) gaps(h redis.Heard) {
	if !h.New {
		l.status.know(Gap{From: h.From, To: h.To}, h.Gaps, false)
		return
	}
	l.status.know(Gap{From: h.From, To: h.To}, h.Gaps, true)
	l.metrics.gap(h.To.Sub(h.From))
	l.cfg.Logger.Warn("no worker has listened to events for a time, those in between are lost",
		"from", h.From.UTC().Format(time.RFC3339), "to", h.To.UTC().Format(time.RFC3339), "gap", h.To.Sub(h.From).Seconds())
}
