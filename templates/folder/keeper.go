package folder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evently/workers/templates"
)

// Defaults of [Config].
const (
	DefaultEvery  = 10 * time.Second
	DefaultSettle = 2 * time.Second
)

// settleAtStart is the time between two reads at the start, which should not take long.
const settleAtStart = 10 * time.Millisecond

// looksForStart is how often a folder is read at the start until it does not change meanwhile.
const looksForStart = 20

// Config says where the templates are.
type Config struct {
	// Dir is the folder; "": the embedded templates are used as they are.
	Dir string
	// Build makes the templates of the files of the folder, and checks them; required.
	Build func(files []templates.File) (*templates.Set, error)
	// Every is how often the folder is read again, and Settle how long it must stay as it is:
	// an editor or a copy may have written half a file, or some of the files. A copy that stalls
	// longer is taken if what it wrote is right; docs/templates.md tells how to replace all files
	// at once. Default: DefaultEvery, DefaultSettle.
	Every, Settle time.Duration
	Log           *slog.Logger // default: slog.Default()
}

// Keeper has the templates in use, and replaces them when the folder has others that are right.
// The contents are compared, at times: watches of files miss the links that Kubernetes swaps, and
// do not work on every file system. It is safe for concurrent use.
type Keeper struct {
	cfg  Config
	set  atomic.Pointer[templates.Set]
	look chan struct{}

	state stateKeeper

	reloads *prometheus.CounterVec
	faulty  *prometheus.Desc
}

// State describes the templates.
type State struct {
	Dir     string // "": they are those of the program
	Version string // of the files of the folder that are in use; "": none are
	Files   int    // of the folder, in use
	Since   time.Time

	Faults   templates.Faults // of the folder as it is now; none: it is in use
	Faulty   time.Time        // since when
	Warnings []templates.Fault
	Skipped  []string // names in the folder that are no templates
}

// Err returns why the folder as it is now is not in use.
func (s State) Err() error {
	if len(s.Faults) == 0 {
		return nil
	}
	return s.Faults
}

// stateKeeper guards the state of a [Keeper].
type stateKeeper struct {
	mu     sync.Mutex
	state  State
	inUse  [sha256.Size]byte // sum of the content in use
	latest [sha256.Size]byte // of the content that was looked at last
}

// Open reads the templates. With faulty ones there are none: [Keeper.Err] tells the faults, and
// [Keeper.Run] waits for others.
func Open(ctx context.Context, cfg Config) *Keeper {
	if cfg.Every <= 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.Settle <= 0 {
		cfg.Settle = DefaultSettle
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	k := &Keeper{cfg: cfg, look: make(chan struct{}, 1),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "evently_template_reloads_total",
			Help: "Changes of TEMPLATES_DIR since the start: replaced (the new templates are used) and refused (they are faulty, and the former ones stay).",
		}, []string{"result"}),
		faulty: prometheus.NewDesc("evently_templates_faulty", "1 while TEMPLATES_DIR has templates that are not used because they are faulty.", nil, nil),
	}
	for _, result := range []string{"replaced", "refused"} {
		k.reloads.WithLabelValues(result)
	}
	k.state.state.Dir = cfg.Dir
	k.open(ctx)
	return k
}

// Fixed returns a keeper of templates that are not of a folder.
func Fixed(set *templates.Set) *Keeper {
	return Open(context.Background(), Config{Build: func([]templates.File) (*templates.Set, error) { return set, nil }})
}

func (k *Keeper) open(ctx context.Context) {
	if k.cfg.Dir == "" {
		k.take(Content{}, k.build(Content{}))
		return
	}
	content, err := k.readTwice(ctx, settleAtStart)
	if err != nil {
		k.state.refuse(Content{}, templates.Faults{{Text: err.Error()}})
		return
	}
	k.take(content, k.build(content))
}

// errUnsettled says that a folder changes while it is read.
var errUnsettled = errors.New("the files change all the time")

// readTwice reads the folder until two reads are equal: links may be swapped, or a file may be
// half written, in the middle of one.
func (k *Keeper) readTwice(ctx context.Context, pause time.Duration) (Content, error) {
	last, err := Read(k.cfg.Dir)
	for range looksForStart {
		select {
		case <-ctx.Done():
			return Content{}, ctx.Err()
		case <-time.After(pause):
		}
		next, nextErr := Read(k.cfg.Dir)
		if err == nil && nextErr == nil && next.sum == last.sum {
			return next, nil
		}
		if err != nil && nextErr != nil {
			return Content{}, nextErr
		}
		last, err = next, nextErr
	}
	return Content{}, fmt.Errorf("%s: %w", k.cfg.Dir, errUnsettled)
}

// built is what became of a content.
type built struct {
	set    *templates.Set
	faults templates.Faults
}

// build makes the templates of a content.
func (k *Keeper) build(c Content) built {
	set, err := k.cfg.Build(c.Files)
	faults, ok := errors.AsType[templates.Faults](err)
	if err != nil && !ok {
		faults = templates.Faults{{Text: err.Error()}}
	}
	faults = append(slices.Clone(c.Faults), faults...)
	if len(faults) > 0 {
		return built{nil, faults}
	}
	return built{set, nil}
}

// take puts templates into use, or keeps the former ones. It reports whether they are in use.
func (k *Keeper) take(c Content, b built) bool {
	if b.set == nil {
		k.state.refuse(c, b.faults)
		return false
	}
	warnings := b.set.Warnings()
	if k.cfg.Dir != "" && len(c.Files) == 0 {
		warnings = append(slices.Clone(warnings), templates.Fault{File: k.cfg.Dir, Warning: true, Text: "has no templates, so those of the program are used"})
	}
	k.set.Store(b.set)
	k.state.accept(c, warnings)
	return true
}

// accept notes that a content is in use.
func (s *stateKeeper) accept(c Content, warnings []templates.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse, s.latest = c.sum, c.sum
	s.state = State{Dir: s.state.Dir, Files: len(c.Files), Since: time.Now(), Warnings: warnings, Skipped: c.Skipped}
	if len(c.Files) > 0 {
		s.state.Version = hex.EncodeToString(c.sum[:6])
	}
}

// refuse notes that a content is faulty.
func (s *stateKeeper) refuse(c Content, faults templates.Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest, s.state.Faults = c.sum, faults
	if s.state.Faulty.IsZero() {
		s.state.Faulty = time.Now()
	}
}

// restore notes that the folder has again what is in use. It reports whether it was faulty.
func (s *stateKeeper) restore() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := len(s.state.Faults) > 0
	s.latest, s.state.Faults, s.state.Faulty = s.inUse, nil, time.Time{}
	return was
}

// sums returns the sums of the content in use and of the latest.
func (s *stateKeeper) sums() (inUse, latest [sha256.Size]byte, faulty string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse, s.latest, s.state.Faults.Error()
}

// State returns how the templates are.
func (k *Keeper) State() State {
	k.state.mu.Lock()
	defer k.state.mu.Unlock()
	return k.state.state
}

// Set returns the templates in use; nil: those at the start were faulty.
func (k *Keeper) Set() *templates.Set { return k.set.Load() }

// Err returns the faults of the folder as it is now, nil if it is in use.
func (k *Keeper) Err() error { return k.State().Err() }

// Render makes a mail. A mail is made of one set, also if the templates are replaced meanwhile.
func (k *Keeper) Render(m templates.Mail) (templates.Rendered, error) {
	set := k.set.Load()
	if set == nil {
		return templates.Rendered{}, fmt.Errorf("no templates: %w", k.Err())
	}
	return set.Render(m)
}

// Look makes [Keeper.Run] read the folder at once.
func (k *Keeper) Look() {
	select {
	case k.look <- struct{}{}:
	default: // it is about to
	}
}

// Run reads the folder again and again until ctx ends. It returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	if k.cfg.Dir == "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(k.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-k.look:
		}
		k.check(ctx)
	}
}

// check reads the folder, and takes its templates if they are others that are right.
func (k *Keeper) check(ctx context.Context) {
	inUse, latest, faults := k.state.sums()
	now, err := Read(k.cfg.Dir)
	if err == nil && now.sum == latest && (now.sum != inUse || faults == "") {
		return
	}
	if err == nil && now.sum == inUse && k.Set() != nil {
		k.restored(ctx)
		return
	}
	content, err := k.readTwice(ctx, k.cfg.Settle)
	switch {
	case ctx.Err() != nil || errors.Is(err, errUnsettled):
		return // the next look comes soon
	case err != nil:
		if faults != err.Error() {
			k.state.refuse(Content{}, templates.Faults{{Text: err.Error()}})
			k.refused(ctx)
		}
		return
	case content.sum == inUse && k.Set() != nil:
		k.restored(ctx)
		return
	case content.sum == latest && content.sum != inUse:
		return // refused already
	}
	if !k.take(content, k.build(content)) {
		k.refused(ctx)
		return
	}
	k.reloads.WithLabelValues("replaced").Inc()
	s := k.State()
	k.cfg.Log.InfoContext(ctx, "templates replaced", "dir", s.Dir, "version", s.Version, "files", s.Files)
	for _, w := range s.Warnings {
		k.Warn(w)
	}
}

// Warn logs a warning about templates that are in use.
func (k *Keeper) Warn(w templates.Fault) {
	k.cfg.Log.Warn("templates are incomplete", "dir", k.cfg.Dir, "fault", w.Error())
}

// restored logs that the folder has again what is in use.
func (k *Keeper) restored(ctx context.Context) {
	if k.state.restore() {
		k.cfg.Log.InfoContext(ctx, "templates are right again", "dir", k.cfg.Dir)
	}
}

// refused counts and logs that the folder is faulty.
func (k *Keeper) refused(ctx context.Context) {
	k.reloads.WithLabelValues("refused").Inc()
	k.cfg.Log.ErrorContext(ctx, "templates refused, the former ones stay in use", "dir", k.cfg.Dir, "faults", k.Err().Error())
}

// Describe implements [prometheus.Collector].
func (k *Keeper) Describe(ch chan<- *prometheus.Desc) {
	k.reloads.Describe(ch)
	ch <- k.faulty
}

// Collect implements [prometheus.Collector].
func (k *Keeper) Collect(ch chan<- prometheus.Metric) {
	k.reloads.Collect(ch)
	value := 0.0
	if k.Err() != nil {
		value = 1
	}
	ch <- prometheus.MustNewConstMetric(k.faulty, prometheus.GaugeValue, value)
}
