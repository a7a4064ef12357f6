package summary

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/attention"
	"github.com/evently/workers/monitor/internal/loop"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
)

// Mails is what the summary reads of the history of mails. [ledger.Reader] is one.
type Mails interface {
	Stats(ctx context.Context, since, until time.Time) ([]ledger.Count, error)
	Classes(ctx context.Context, since, until time.Time) ([]ledger.ClassCount, error)
	List(ctx context.Context, f ledger.Filter) (ledger.Page, error)
}

// Vitals is what the summary reads of the health of the fleet. [vitals.Reader] is one.
type Vitals interface {
	Refresh(ctx context.Context) error
	State() vitals.State
}

// DefaultObjective is the share of codes that must be accepted within ten seconds.
const DefaultObjective = 0.99

// Config is the configuration of a [Keeper]. A source that is nil is missing in the summary.
type Config struct {
	Fleet   monitor.Fleet
	Queues  func() Queues // must cost no I/O
	Vitals  Vitals
	Mails   Mails
	Letters func(ctx context.Context) (broker.LetterCounts, error)

	CodeKinds []string // kinds of mails with codes
	CodeTasks []string // names of their tasks
	Objective float64  // DefaultObjective

	// NoHistory says why there is no history, for people; "" where Mails is set.
	NoHistory string

	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // default: slog.Default()
}

// Keeper keeps a summary up to date. Run keeps it; Summary answers from memory, so that many
// readers cost the same as one.
type Keeper struct {
	cfg     Config
	watcher attention.Watcher
	told    memory
	current atomic.Pointer[Summary]

	letters atomic.Pointer[lettersSeen]
	mails   atomic.Pointer[mailsSeen]
	waiting atomic.Pointer[waitingSeen]
	vitals  atomic.Pointer[fault]
}

// fault is the outcome of the last read of a source; nil: not read yet.
type fault struct{ err error }

// Times between reads, and how long one read may take.
const (
	composeEvery = time.Second
	vitalsEvery  = 3 * time.Second
	lettersEvery = 5 * time.Second
	mailsEvery   = 15 * time.Second
	waitingEvery = 3 * time.Second
	patience     = 5 * time.Second
)

// New returns a Keeper that has read nothing yet.
func New(cfg Config) *Keeper {
	cfg.Objective = cmp.Or(cfg.Objective, DefaultObjective)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	k := &Keeper{cfg: cfg}
	k.compose()
	return k
}

// Summary returns the latest summary. The caller must not change it.
func (k *Keeper) Summary() *Summary { return k.current.Load() }

// Run reads the sources until ctx ends, and then returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, l := range []struct {
		every time.Duration
		step  func(context.Context)
	}{{vitalsEvery, k.readVitals}, {lettersEvery, k.readLetters}, {mailsEvery, k.readMails}, {waitingEvery, k.readWaiting}, {composeEvery, func(context.Context) { k.compose() }}} {
		g.Go(func() error {
			loop.Every(ctx, l.every, l.step)
			return nil
		})
	}
	return g.Wait()
}

// Refresh reads all sources once. A program that calls Run need not call it.
func (k *Keeper) Refresh(ctx context.Context) {
	k.readVitals(ctx)
	k.readLetters(ctx)
	k.readMails(ctx)
	k.readWaiting(ctx)
	k.compose()
}

func (k *Keeper) readVitals(ctx context.Context) {
	if k.cfg.Vitals == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	k.vitals.Store(&fault{k.cfg.Vitals.Refresh(ctx)})
}

// lettersSeen are the numbers of dead letters of the last ten minutes.
type lettersSeen struct {
	err     error
	at      time.Time // of the last count
	counts  broker.LetterCounts
	history []openAt
}

type openAt struct {
	at   time.Time
	open int
}

// growthWindow is the time over which the growth of dead letters is told.
const growthWindow = 10 * time.Minute

func (k *Keeper) readLetters(ctx context.Context) {
	if k.cfg.Letters == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := k.cfg.Now()
	seen := lettersSeen{}
	if before := k.letters.Load(); before != nil {
		seen = *before
	}
	counts, err := k.cfg.Letters(ctx)
	if seen.err = err; err == nil {
		seen.counts, seen.at = counts, now
		var kept []openAt
		for _, h := range append(seen.history, openAt{now, counts.Open}) {
			if now.Sub(h.at) <= growthWindow {
				kept = append(kept, h)
			}
		}
		seen.history = kept
	}
	k.letters.Store(&seen)
}

// grown tells how many more there are than at the beginning of the window, and since when
// there are more.
func (s *lettersSeen) grown() (more int, over time.Duration, since time.Time) {
	if len(s.history) < 2 {
		return 0, 0, time.Time{}
	}
	first, last := s.history[0], s.history[len(s.history)-1]
	more, over = last.open-first.open, max(time.Minute, last.at.Sub(first.at))
	for _, h := range s.history {
		if more > 0 && h.open > first.open {
			return more, over, h.at
		}
	}
	return more, over, time.Time{}
}

// mailsSeen is what the history has told.
type mailsSeen struct {
	err     error
	stats   []ledger.Count
	classes []ledger.ClassCount
}

// waitingSeen are the codes that were not accepted at the last look.
type waitingSeen struct {
	err   error
	mails []ledger.Mail
}

// codeLife is the time within which a code that waits is looked for.
const codeLife = 30 * time.Minute

func (k *Keeper) readMails(ctx context.Context) {
	if k.cfg.Mails == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := k.cfg.Now()
	var seen mailsSeen
	var errs [2]error
	seen.stats, errs[0] = k.cfg.Mails.Stats(ctx, now.Add(-24*time.Hour), now)
	seen.classes, errs[1] = k.cfg.Mails.Classes(ctx, now.Add(-time.Hour), now)
	seen.err = errors.Join(errs[:]...)
	k.mails.Store(&seen)
}

// readWaiting looks for codes that are not accepted yet.
func (k *Keeper) readWaiting(ctx context.Context) {
	if k.cfg.Mails == nil || len(k.cfg.CodeKinds) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const most = 500
	page, err := k.cfg.Mails.List(ctx, ledger.Filter{
		Kinds: k.cfg.CodeKinds, States: []ledger.State{ledger.Queued, ledger.Sending, ledger.Deferred}, Since: k.cfg.Now().Add(-codeLife), Limit: most,
	})
	k.waiting.Store(&waitingSeen{err, page.Mails})
	// It answers again, or a worker has made its tables.
	if seen := k.mails.Load(); err == nil && seen != nil && seen.err != nil {
		k.readMails(ctx)
	}
}
