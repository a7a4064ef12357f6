package vitals

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker/broker"
)

// WriterConfig is the configuration of a [Writer]. Report, Board and Journal are required.
type WriterConfig struct {
	Report  func() monitor.Report // must cost no I/O
	Board   broker.Board
	Journal Journal
	Version string

	// Settings describes the configuration; nil: it is not told. Ages adds since when its
	// secrets are known; it must cost no I/O.
	Settings func(ctx context.Context) ([]Setting, error)
	// SettingsVersion changes when Settings has others to tell; nil: they stay as they are.
	SettingsVersion   func() int
	Ages              func() []monitor.SecretState
	VisibilityTimeout time.Duration

	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // default: slog.Default()
}

// Writer tells the fleet how this process is. Make one with NewWriter.
type Writer struct {
	cfg     WriterConfig
	process Process

	last    []part
	pending [][]string // entries of the journal that wait for Redis
	unsure  bool       // whether the journal has taken them
	missed  int        // changes beyond the pace
	budget  float64    // changes that may be noted now
	counted time.Time  // when budget was filled

	version int // of the settings of process

	posted time.Time
	silent bool // Redis did not take the last notice
}

// Bounds of the journal of one process.
const (
	mostPending  = 200
	burst        = 40.0
	perSecond    = 0.5
	lookEvery    = time.Second
	lookWithin   = 2 * time.Second
	finishWithin = time.Second
)

// NewWriter checks cfg and returns a Writer.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	if cfg.Report == nil || cfg.Board == nil || cfg.Journal == nil {
		return nil, errors.New("vitals: Report, Board and Journal are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	now := cfg.Now()
	return &Writer{
		cfg: cfg, budget: burst, counted: now,
		process: Process{
			ID: rand.Text()[:16], Host: host, PID: os.Getpid(), Version: cfg.Version, Started: now,
			VisibilityTimeout: cfg.VisibilityTimeout.Seconds(),
		},
	}, nil
}

// Run writes until ctx ends, and then returns nil. It needs no broker that answers: changes
// wait until it does. Run of a nil Writer returns at once.
func (w *Writer) Run(ctx context.Context) error {
	if w == nil {
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	w.note(part{PartProcess, true, "started, version " + w.cfg.Version})
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			w.finish(ctx)
			return nil
		case <-tick.C:
		}
	}
}

// look notes what has changed, and posts the report when it is time, or has changed.
func (w *Writer) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin) // a broker that is frozen must not hold up the end
	defer cancel()
	now, report := w.cfg.Now(), w.cfg.Report()
	w.process.Node, w.process.Report, w.process.At = report.Node, report, now.UTC()
	if report.Database.Unasked() || report.Mail.Unasked() { // for a moment after the start
		w.flush(ctx)
		w.post(ctx, now)
		w.posted = time.Time{} // the first answer is posted at once
		return
	}
	current := parts(report)
	changed := changes(w.last, current)
	if w.last == nil {
		changed = changes([]part{{name: PartStatus, ok: true, text: monitor.StatusHealthy}}, current)
	}
	w.last = current
	for _, p := range changed {
		w.note(p)
	}
	w.flush(ctx)
	if len(changed) > 0 || now.Sub(w.posted) >= postEvery {
		w.post(ctx, now)
	}
}

// note makes an entry of the journal. A process that changes all the time notes less.
func (w *Writer) note(p part) {
	now := w.cfg.Now()
	w.budget = min(burst, w.budget+now.Sub(w.counted).Seconds()*perSecond)
	w.counted = now
	if w.budget < 1 || len(w.pending) >= mostPending {
		w.missed++
		return
	}
	w.budget--
	if w.missed > 0 {
		w.pending = append(w.pending, w.entry(missed(w.missed), now))
		w.missed = 0
	}
	w.pending = append(w.pending, w.entry(p, now))
}

// entry returns the fields of an entry. The node is filled in when it is known.
func (w *Writer) entry(p part, now time.Time) []string {
	return []string{
		"at", strconv.FormatInt(now.UnixMilli(), 10), "process", w.process.ID, "part", p.name,
		"ok", strconv.FormatBool(p.ok), "text", clip(p.text),
	}
}

// flush appends the entries that wait. They stay when the broker does not answer. A frozen broker
// carries out each append later. So after a failure it is asked something first, or each try would
// add the same entries, and push out those of other processes.
func (w *Writer) flush(ctx context.Context) {
	if len(w.pending) == 0 || w.process.Node == "" {
		return
	}
	if w.unsure {
		if _, err := w.cfg.Board.Posted(ctx, directoryName); err != nil {
			return
		}
	}
	entries := make([][]string, len(w.pending))
	for i, e := range w.pending {
		entries[i] = append([]string{"node", w.process.Node}, e...)
	}
	_, err := w.cfg.Journal.Append(ctx, "", "", entries...)
	if w.unsure = err != nil; err == nil {
		w.pending = nil
	}
}

// post posts the report, and enters this process in the directory.
func (w *Writer) post(ctx context.Context, now time.Time) {
	w.posted = now
	err := w.publish(ctx, now)
	if err != nil && !w.silent && !errors.Is(ctx.Err(), context.Canceled) {
		w.cfg.Logger.Warn("health not shared with the monitor", "error", err)
	}
	w.silent = err != nil
}

func (w *Writer) publish(ctx context.Context, now time.Time) error {
	if err := w.describe(ctx); err != nil {
		return err
	}
	raw, err := json.Marshal(w.process)
	if err != nil {
		return err
	}
	if len(raw) > broker.MaxNotice {
		without := w.process
		without.Settings = nil
		if raw, err = json.Marshal(without); err != nil {
			return err
		}
	}
	if err := w.cfg.Board.Post(ctx, processPrefix+w.process.ID, raw, noticeLife); err != nil {
		return err
	}
	notices, err := w.cfg.Board.Posted(ctx, directoryName)
	if err != nil {
		return err
	}
	d := readDirectory(notices[0])
	if !d.enter(w.process.ID, now) {
		return nil
	}
	if raw, err = json.Marshal(d); err != nil {
		return err
	}
	return w.cfg.Board.Post(ctx, directoryName, raw, directoryLife)
}

// describe fills in the settings, and the ages of secrets, which become known later.
func (w *Writer) describe(ctx context.Context) error {
	if w.cfg.Settings == nil {
		return nil
	}
	version := 0
	if w.cfg.SettingsVersion != nil {
		version = w.cfg.SettingsVersion()
	}
	if w.process.Settings == nil || version != w.version {
		settings, err := w.cfg.Settings(ctx)
		if err != nil {
			return err
		}
		w.process.Settings, w.version = settings, version
	}
	if w.cfg.Ages == nil {
		return nil
	}
	ages := w.cfg.Ages()
	w.process.Secrets = SecretsOf(ages)
	for _, age := range ages {
		for i := range w.process.Settings {
			if s := &w.process.Settings[i]; s.Variable == age.Name && s.Secret {
				s.Since = age.Since
			}
		}
	}
	return nil
}

// finish notes the end of the process, and removes its notice.
func (w *Writer) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	w.budget = burst
	w.note(part{PartProcess, true, "stopped"})
	for range 3 { // idle connections may be broken after a restart of the broker
		if w.flush(ctx); len(w.pending) == 0 {
			break
		}
	}
	_ = w.cfg.Board.Unpost(ctx, processPrefix+w.process.ID) // it expires anyway
}
