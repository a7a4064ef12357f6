package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// Defaults of [Config].
const (
	DefaultTasks   = 100_000
	DefaultWorkers = 5_000
	DefaultBytes   = 256 << 20
)

// mostTypes bounds the kinds of tasks that have figures of their own.
const mostTypes = 2_000

// askEvery is how often workers are asked to send the events of tasks, because some may have
// started since. Flower asks every 5 seconds; new workers are asked at once here.
const askEvery = 30 * time.Second

// Config is what a [State] needs.
type Config struct {
	// Remote carries the events; required by Run.
	Remote broker.Remote
	// Redactor hides secrets; default: redact.New().
	Redactor *redact.Redactor
	// Params returns the names of the positional parameters of a task, so that the values of
	// secrets are found. Nil, or no names: values that look like codes and tokens are hidden.
	Params func(task string) []string
	// Tasks, Workers and Bytes bound what is kept: the oldest are dropped. Defaults:
	// DefaultTasks, DefaultWorkers and DefaultBytes.
	Tasks, Workers, Bytes int
	// Silent leaves out asking workers for the events of tasks. Workers send them only when
	// they were told to.
	Silent    bool
	Observers []Observer
	Now       func() time.Time // default: time.Now
	Logger    *slog.Logger     // default: slog.Default()
}

// Observer sees every event after it was taken in, from one goroutine. It must be fast, and
// must not change what it is given.
type Observer interface {
	ObserveTask(TaskEvent)
	ObserveWorker(WorkerEvent)
}

// State is what the events have told. Many goroutines may read it.
type State struct {
	cfg     Config
	book    *book
	decoder protocol.Decoder
	event   event         // of the goroutine that listens
	ask     chan struct{} // capacity 1: ask workers for their events soon
}

// New returns a State without any workers and tasks.
func New(cfg Config) (*State, error) {
	if cfg.Tasks < 0 || cfg.Workers < 0 || cfg.Bytes < 0 {
		return nil, errors.New("fleet: Tasks, Workers and Bytes must not be negative")
	}
	cfg.Redactor = cmp.Or(cfg.Redactor, redact.New())
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &hider{redact: cfg.Redactor, params: cfg.Params, seed: maphash.MakeSeed()}
	l := limits{
		tasks: cmp.Or(cfg.Tasks, DefaultTasks), workers: cmp.Or(cfg.Workers, DefaultWorkers),
		bytes: cmp.Or(cfg.Bytes, DefaultBytes), types: mostTypes,
	}
	return &State{cfg: cfg, book: newBook(l, h), ask: make(chan struct{}, 1)}, nil
}

// Run listens to the events until ctx ends, and then returns nil.
func (s *State) Run(ctx context.Context) error {
	if s.cfg.Remote == nil {
		return errors.New("fleet: Remote is missing")
	}
	s.book.begin(s.cfg.Now())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return s.cfg.Remote.Listen(ctx, broker.Listening{Joined: s.joined, Event: s.Take, TaskEvents: true})
	})
	g.Go(func() error {
		s.keepAsking(ctx)
		return nil
	})
	return g.Wait()
}

// joined notes that events arrive from now on.
func (s *State) joined() {
	s.book.joined(s.cfg.Now())
	s.askSoon()
}

func (s *State) askSoon() {
	select {
	case s.ask <- struct{}{}:
	default:
	}
}

// keepAsking asks workers for the events of tasks until ctx ends.
func (s *State) keepAsking(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.book.forgetSilent(s.cfg.Now())
		case <-s.ask:
		}
		if s.cfg.Silent {
			continue
		}
		if err := s.enable(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Debug("workers cannot be asked for the events of tasks, will try again", "error", err)
		}
		select { // many workers that start at once are asked together
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

func (s *State) enable(ctx context.Context) error {
	raw, err := protocol.EncodeControl(&protocol.ControlRequest{Method: "enable_events"}, uuid.NewString(), time.Time{})
	if err != nil {
		return fmt.Errorf("enable events: %w", err)
	}
	return s.cfg.Remote.Broadcast(ctx, raw)
}

// Take takes in a message with events. Run calls it; tests and replays may instead of Run,
// from one goroutine.
func (s *State) Take(raw []byte) {
	if err := s.decoder.EachEvent(raw, s.take); err != nil {
		s.book.malformed()
		s.cfg.Logger.Debug("message with events cannot be read", "error", err)
	}
}

func (s *State) take(body protocol.Raw) {
	if err := s.event.read(body); err != nil {
		s.book.malformed()
		s.cfg.Logger.Debug("event cannot be read", "error", err)
		return
	}
	task, worker := s.book.apply(&s.event, s.cfg.Now())
	if worker != nil && worker.New && s.event.kind.subject != "offline" {
		s.askSoon()
	}
	for _, o := range s.cfg.Observers {
		if task != nil {
			o.ObserveTask(*task)
		} else {
			o.ObserveWorker(*worker)
		}
	}
}
