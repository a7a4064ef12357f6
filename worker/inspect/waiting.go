package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// Waiting is a message that a worker holds until its time comes.
type Waiting struct {
	Message
	Claim string // names it for Schedule.RunNow
	Node  string // of the worker of this kind that holds it, "" when it is not known
	// Python says that a Python worker holds the message in its memory. It can be revoked, and
	// not be run now.
	Python  bool
	Revoked bool
}

// Snapshot is what waits at a moment, the earliest first.
type Snapshot struct {
	At      time.Time
	Waiting []Waiting
	Held    int // messages that workers hold in all, also running ones
	// Left is the number of held messages that were not looked at, because there are too many.
	Left int
	// Queues counts the held messages by queue, as far as they were looked at.
	Queues map[string]int
}

// ScheduleConfig describes a Schedule. All fields but Redact are required.
type ScheduleConfig struct {
	Source    Source
	Presenter *Presenter
	Operator  *Operator
	// Results reads results, for the reasons of retries; nil: they are not known.
	Results func(ctx context.Context, ids []string) ([]*protocol.Result, error)
	Redact  []string // further names of secrets
}

const (
	// mostHeld bounds the held messages that are looked at.
	mostHeld = 50_000
	// freshFor is how long a snapshot serves all readers.
	freshFor = 2 * time.Second
	// restShare is the part of its time that reading may take.
	restShare = 10
)

// Schedule reads what waits for its time: scheduled tasks and retries. One reading serves all
// readers, and a message is read once. Make one with NewSchedule.
type Schedule struct {
	cfg      ScheduleConfig
	redactor *redact.Redactor
	reading  chan struct{} // capacity 1: held by the reader
	last     atomic.Pointer[Snapshot]

	// Used by the reader only.
	known map[string]*Waiting // by claim; nil waits for nothing
	queue map[string]string   // of each claim
	next  time.Time           // not read before
	fault error               // of the last reading
}

// NewSchedule returns a Schedule that has not read yet.
func NewSchedule(cfg ScheduleConfig) *Schedule {
	return &Schedule{
		cfg: cfg, redactor: redact.New(cfg.Redact...), reading: make(chan struct{}, 1),
		known: map[string]*Waiting{}, queue: map[string]string{},
	}
}

// Snapshot returns what waits now. It reads at most once in some seconds, less often when
// there is much to read.
func (s *Schedule) Snapshot(ctx context.Context) (*Snapshot, error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		if last := s.last.Load(); last != nil {
			return last, nil
		}
		return nil, ctx.Err()
	}
	if time.Now().Before(s.next) {
		// A failed reading counts for all readers, too: an old answer would look like a new one.
		if s.fault != nil {
			return nil, s.fault
		}
		if last := s.last.Load(); last != nil {
			return last, nil
		}
	}
	began := time.Now()
	snapshot, err := s.read(ctx)
	if err != nil {
		err = fmt.Errorf("read what waits for its time: %w", err)
	}
	if errors.Is(ctx.Err(), context.Canceled) && err != nil {
		return nil, err // of this reader alone, who is gone
	}
	s.fault = err
	if err != nil {
		// It is the answer to all readers, so it must not outlive its cause by much.
		s.next = time.Now().Add(freshFor)
		return nil, err
	}
	s.next = began.Add(max(freshFor, restShare*time.Since(began)))
	s.last.Store(snapshot)
	return snapshot, nil
}

// Forget lets the next Snapshot read anew, after a change.
func (s *Schedule) Forget(ctx context.Context) {
	select {
	case s.reading <- struct{}{}:
		s.next = time.Time{}
		<-s.reading
	case <-ctx.Done():
	}
}

// read reads the claims, and the messages that it does not know.
func (s *Schedule) read(ctx context.Context) (*Snapshot, error) {
	claims, left, err := s.claims(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.learn(ctx, claims); err != nil {
		return nil, err
	}
	revoked, err := s.cfg.Operator.Revoked(ctx)
	if err != nil {
		return nil, err
	}
	snap := &Snapshot{At: time.Now(), Held: len(claims) + left, Left: left, Queues: map[string]int{}}
	for claim := range claims {
		snap.Queues[s.queue[claim]]++
		w := s.known[claim]
		if w == nil || !w.ETA.After(snap.At) {
			continue
		}
		one := *w
		one.Revoked = revoked[w.ID]
		snap.Waiting = append(snap.Waiting, one)
	}
	sorting.By(snap.Waiting, func(a, b Waiting) int { return cmp.Or(a.ETA.Compare(b.ETA), cmp.Compare(a.Claim, b.Claim)) })
	return snap, nil
}

// claims returns the claims of all held messages, as far as there is room for them.
func (s *Schedule) claims(ctx context.Context) (claims map[string]bool, left int, err error) {
	claims = map[string]bool{}
	for cursor := ""; ; {
		page, next, err := s.cfg.Source.Claims(ctx, cursor)
		if err != nil {
			return nil, 0, err
		}
		for _, c := range page {
			if len(claims) < mostHeld || claims[c] {
				claims[c] = true
			} else {
				left++
			}
		}
		if cursor = next; cursor == "" {
			return claims, left, nil
		}
	}
}

// learn reads the messages of claims that are not known, and forgets the others.
func (s *Schedule) learn(ctx context.Context, claims map[string]bool) error {
	for c := range s.queue {
		if !claims[c] {
			delete(s.queue, c)
			delete(s.known, c)
		}
	}
	var unknown []string
	for c := range claims {
		if _, ok := s.queue[c]; !ok {
			unknown = append(unknown, c)
		}
	}
	for chunk := range slices.Chunk(unknown, 200) {
		held, err := s.cfg.Source.Held(ctx, chunk)
		if err != nil {
			return err
		}
		for _, h := range held {
			s.queue[h.Claim] = h.Queue
			m := s.cfg.Presenter.Message(h.Queue, h.QueuedMessage)
			if m.ETA.After(time.Now()) {
				s.known[h.Claim] = &Waiting{Message: m, Claim: h.Claim, Node: h.Node, Python: h.Python}
			}
		}
	}
	return nil
}

// Reasons returns why tasks are tried again, by their ids: the error of the last attempt, with
// its secrets hidden. Results that are gone have none.
func (s *Schedule) Reasons(ctx context.Context, waiting []Waiting) (map[string]string, error) {
	var ids []string
	for _, w := range waiting {
		if w.Retries > 0 {
			ids = append(ids, w.ID)
		}
	}
	if s.cfg.Results == nil || len(ids) == 0 {
		return nil, nil
	}
	results, err := s.cfg.Results(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read why tasks are tried again: %w", err)
	}
	reasons := map[string]string{}
	for i, r := range results {
		if r == nil || r.Status != protocol.StateRetry || r.Exception == nil {
			continue
		}
		text := r.Exception.Type
		if len(r.Exception.Args) > 0 {
			text += ": " + fmt.Sprint(r.Exception.Args[0])
		}
		reasons[ids[i]] = s.redactor.Bounded(300).Text(bounded(text))
	}
	return reasons, nil
}

// RunNow lets a waiting message of this kind of worker run at once. The error wraps
// broker.ErrNotHeld, broker.ErrHeldByPython or broker.ErrDue where that is impossible.
func (s *Schedule) RunNow(ctx context.Context, claim string) error {
	defer s.Forget(ctx)
	if err := s.cfg.Source.RunNow(ctx, claim); err != nil {
		return fmt.Errorf("run now: %w", err)
	}
	return nil
}

// Cancel revokes waiting messages, of workers of both kinds. It returns what the live workers
// answered.
func (s *Schedule) Cancel(ctx context.Context, ids []string) ([]Answer, error) {
	defer s.Forget(ctx)
	if len(ids) == 0 {
		return nil, errors.New("cancel: want ids of tasks")
	}
	return s.cfg.Operator.Revoke(ctx, Revocation{IDs: ids})
}

// Find returns the waiting messages of claims, by claim.
func (s *Snapshot) Find(claims ...string) map[string]Waiting {
	wanted := make(map[string]bool, len(claims))
	for _, c := range claims {
		wanted[c] = true
	}
	found := make(map[string]Waiting)
	for _, w := range s.Waiting {
		if wanted[w.Claim] {
			found[w.Claim] = w
		}
	}
	return found
}
