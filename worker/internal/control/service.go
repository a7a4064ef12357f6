package control

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/protocol"
)

// Mode selects the commands that are carried out.
type Mode int

const (
	Full     Mode = iota // all
	Harmless             // commands that change only what is shown
	Off                  // none: requests are not listened for
)

// Config describes a Service. All fields are required, but Remote and OnChange may be nil.
type Config struct {
	Name    string // node name
	Mode    Mode
	Gossip  bool // take part in the gossip of workers
	Mingle  bool // ask other workers at the start what was revoked
	Node    Node
	Events  *events.Dispatcher
	Clock   *events.Clock
	Remote  broker.Remote // nil: nothing to listen on
	Decoder protocol.Decoder
	// Repr returns the repr of an error in Python.
	Repr func(error) string
	// OnChange hears of each command that changes something, after it. It must return at
	// once. nil: nothing is told.
	OnChange func(Change)
	Log      *slog.Logger
	Now      func() time.Time
}

// Service answers requests and hears the events of other workers.
type Service struct {
	Config
	decoder  protocol.Decoder
	commands map[string]command

	requests chan []byte  // of remote control; when it is full, the rest is dropped
	heard    chan []byte  // events of other workers; when it is full, the rest is dropped
	bytes    atomic.Int64 // in both
	dropped  sync.Once

	// Used by the goroutine of attend only.
	twinAt time.Time    // last warning of another worker with this name
	acks   []pendingAck // elections to acknowledge, by their time
	budget budget       // of answers
}

// Bounds of the messages that wait to be looked at. More of them within the time of a few
// answers can only come from a flood.
const (
	backlog      = 1000
	backlogBytes = 32 << 20
)

// New returns a Service. Its Run must be called for anything to be answered.
func New(cfg Config) *Service {
	s := &Service{
		Config: cfg, decoder: cfg.Decoder, commands: commands(),
		requests: make(chan []byte, backlog), heard: make(chan []byte, backlog),
	}
	// A worker that lists all revocations sends more than any task.
	s.decoder.Limits.Size = max(s.decoder.Limits.Size, 8<<20)
	s.decoder.Limits.Elements = max(s.decoder.Limits.Elements, 4*RevokesMax)
	return s
}

// Run answers remote control and hears other workers until ctx ends. The worker calls it
// until its last task has ended, so that a draining worker can be inspected.
func (s *Service) Run(ctx context.Context) error {
	listening := broker.Listening{Node: s.Name, Joined: s.Events.Online}
	if s.Mode != Off {
		listening.Request = func(raw []byte) { s.enqueue(s.requests, raw) }
	}
	if s.Gossip {
		listening.Event = func(raw []byte) { s.enqueue(s.heard, raw) }
	}
	if s.Remote == nil || listening.Request == nil && listening.Event == nil {
		s.Events.Online()
		<-ctx.Done()
		return nil
	}
	var g errgroup.Group
	g.Go(func() error { return s.Remote.Listen(ctx, listening) })
	g.Go(func() error { s.attend(ctx); return nil })
	return g.Wait()
}

func (s *Service) enqueue(to chan<- []byte, raw []byte) {
	if s.bytes.Add(int64(len(raw))) <= backlogBytes {
		select {
		case to <- raw:
			return
		default:
		}
	}
	s.bytes.Add(-int64(len(raw)))
	s.dropped.Do(func() { s.Log.Warn("remote control messages dropped: they arrive faster than they are handled") })
}

// attend handles what arrives, one message after the other.
func (s *Service) attend(ctx context.Context) {
	for {
		var due <-chan time.Time
		if next := s.acknowledge(); next > 0 {
			due = time.After(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-due:
		case raw := <-s.requests:
			s.answer(ctx, raw)
			s.bytes.Add(-int64(len(raw)))
		case raw := <-s.heard:
			s.hear(raw)
			s.bytes.Add(-int64(len(raw)))
		}
	}
}
