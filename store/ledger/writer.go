package ledger

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/worker/broker"
)

// WriterConfig is the configuration of a [Writer]. Outbox is required.
type WriterConfig struct {
	// DB is PostgreSQL, opened by store.OpenDB for instance, or SQLite. The writer uses
	// one connection at a time. nil: no history is stored, for the reason that Off gives.
	DB  *sqlx.DB
	Off string

	Outbox broker.Outbox
	Stream string        // of the Outbox; default: StreamName
	Leaser broker.Leaser // nil: no other worker writes
	Owner  string        // of the lease, such as the node name; default: a random one
	Sealer *Sealer       // its key for hashes is stored, unless it is the operator's

	// Reference returns the id by which bounces name a mail, and Suppressor gets the
	// evidence of bounces that came before their mail was stored. nil: bounces are not
	// matched, or suppress no address.
	Reference  func(mail string) string
	Suppressor Suppressor

	Follower Follower // is told of stored events; nil: there is none

	Retention time.Duration // how long history is kept; default: DefaultRetention
	Timeout   time.Duration // of one batch; default: DefaultTimeout
	Logger    *slog.Logger  // default: slog.Default()
	Now       func() time.Time
}

// Writer moves events from the stream of the broker to the database. Each worker has one;
// the lease decides which of them writes. Events are removed from the stream once they are
// committed, so a crash loses none, and an event that is read twice is stored once.
type Writer struct {
	cfg    WriterConfig
	db     *database // nil without a database
	status statusKeeper

	// The rest belongs to Run.
	prepared   bool      // tables and partitions are there
	maintained time.Time // when they were last looked after
	leased     time.Time // when the lease was last taken or renewed; zero: not held
	looked     time.Time // when the backlog was last read
	batch      int       // entries to read at once
	failures   int       // in a row
}

// Bounds of the work of a writer.
const (
	mostEntries  = 500 // in one transaction
	fewEntries   = 25  // after transactions that took too long
	leaseFor     = 30 * time.Second
	leaseRenewal = 5 * time.Second
	standby      = 2 * time.Second        // between questions for the lease
	idle         = 500 * time.Millisecond // between reads of an empty stream
	linger       = 100 * time.Millisecond // after a batch that was not full: more comes together
	upkeep       = time.Hour
	cleanAgain   = 5 * time.Minute // after old history could not be removed
	lookPeriod   = 5 * time.Second
	longestPause = 5 * time.Second  // after failures; connecting is cheap
	lastingPause = 30 * time.Second // after faults that a person must mend

	// keptWhileOff is the number of entries that wait while history is off, so that the
	// latest events are there when it is turned on.
	keptWhileOff = 10_000
)

// NewWriter checks cfg and returns a Writer. It does no I/O.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	if cfg.Outbox == nil {
		return nil, errors.New("a ledger needs a broker with streams")
	}
	if cfg.Retention < 0 {
		return nil, fmt.Errorf("retention of the history is %g s: it must be positive", cfg.Retention.Seconds())
	}
	cfg.Stream = cmp.Or(cfg.Stream, StreamName)
	cfg.Owner = cmp.Or(cfg.Owner, rand.Text())
	cfg.Retention = cmp.Or(cfg.Retention, DefaultRetention)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	w := &Writer{cfg: cfg, batch: mostEntries}
	reason := "not connected yet"
	if cfg.DB != nil {
		w.db = newDatabase(cfg.DB, cfg.Timeout)
		w.db.reference, w.db.suppressor = cfg.Reference, cfg.Suppressor
		w.db.follower = cfg.Follower
	} else {
		reason = cmp.Or(cfg.Off, "history is off: no database is configured")
	}
	w.status.begin(reason, cfg.Now())
	return w, nil
}

// Status returns the state of the history, for health and metrics. It does no I/O.
func (w *Writer) Status() Status { return w.status.get() }

// Run writes until ctx ends, stores the events that are there by then, if that takes at most
// two seconds, and returns nil. So it should end after the tasks. While the database or the
// broker is unavailable it tries again, at least twice a minute.
func (w *Writer) Run(ctx context.Context) error {
	defer w.release(ctx)
	defer w.finish(ctx)
	for ctx.Err() == nil {
		pause, err := w.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			pause = w.failed(ctx, err)
		} else {
			w.failures = 0
		}
		w.look(ctx)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// finish stores the last events, if this worker writes.
func (w *Writer) finish(ctx context.Context) {
	if w.leased.IsZero() || !w.status.get().On {
		return
	}
	const longest = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	defer cancel()
	for {
		n, err := w.drain(ctx)
		if err != nil {
			w.cfg.Logger.WarnContext(ctx, "last events of mails not stored: they wait in the broker", "error", err)
		}
		if err != nil || n == 0 {
			return
		}
	}
}

// step does one round and returns the pause until the next one.
func (w *Writer) step(ctx context.Context) (time.Duration, error) {
	if w.db == nil {
		return standby, w.trim(ctx)
	}
	if err := w.prepare(ctx); err != nil {
		return 0, err
	}
	held, err := w.lease(ctx)
	if err != nil {
		return 0, err
	}
	if !held {
		w.status.set(true, false, "", w.cfg.Now())
		return standby, nil
	}
	if err := w.maintain(ctx); err != nil {
		return 0, err
	}
	n, err := w.drain(ctx)
	if err != nil {
		return 0, err
	}
	if w.status.set(true, true, "", w.cfg.Now()) {
		w.cfg.Logger.InfoContext(ctx, "history of mails is being written")
	}
	switch {
	case n == w.batch:
		return 0, nil
	case n > 0:
		return linger, nil
	}
	return idle, nil
}

// failed notes an error and returns the pause until the next attempt.
func (w *Writer) failed(ctx context.Context, err error) time.Duration {
	w.failures++
	err = refine(err)
	if w.status.set(false, false, reasonOf(err), w.cfg.Now()) {
		w.cfg.Logger.WarnContext(ctx, "history of mails is not written", "error", err)
	}
	longest := longestPause
	if _, lasting := errors.AsType[*AccessError](err); lasting {
		longest = lastingPause
		w.prepared = false
		if err := w.trim(ctx); err != nil {
			w.cfg.Logger.WarnContext(ctx, "old events of mails not removed from the broker", "error", err)
		}
	}
	w.release(ctx) // another worker may reach the database
	return backoff(w.failures, longest)
}

// prepare makes the tables, once.
func (w *Writer) prepare(ctx context.Context) error {
	if w.prepared {
		return nil
	}
	now := w.cfg.Now()
	if err := w.db.migrate(ctx, now); err != nil {
		return err
	}
	if err := w.db.makePartitions(ctx, now); err != nil && !isLockTimeout(err) {
		return err
	}
	if err := w.keepKey(ctx); err != nil {
		return err
	}
	w.prepared = true
	return nil
}

func (w *Writer) keepKey(ctx context.Context) error {
	other, err := w.db.keepKey(ctx, w.cfg.Sealer, w.cfg.Now())
	if err == nil && other {
		w.cfg.Logger.WarnContext(ctx, "history has addresses of another LEDGER_KEY: they are not found by address")
	}
	return err
}

// drain moves one batch and returns the number of entries that it read.
func (w *Writer) drain(ctx context.Context) (int, error) {
	recorded, err := w.cfg.Outbox.Oldest(ctx, w.cfg.Stream, w.batch)
	if err != nil {
		return 0, &brokerError{fmt.Errorf("read the stream: %w", err)}
	}
	if len(recorded) == 0 {
		return 0, nil
	}
	entries := make([]entry, 0, len(recorded))
	unreadable := map[string]error{}
	for _, r := range recorded {
		event, err := Decode(r.Fields)
		if err != nil {
			unreadable[r.ID] = err
			continue
		}
		e := entry{event: event, at: r.At}
		if e.at.IsZero() {
			e.at = event.At
		}
		e.ms, e.seq = placeOf(r.ID, e.at)
		entries = append(entries, e)
	}
	if err := w.write(ctx, entries); err != nil {
		return 0, err
	}
	if err := w.remove(ctx, recorded); err != nil {
		return 0, err
	}
	for id, err := range unreadable {
		w.skip(ctx, id, err)
	}
	return len(recorded), nil
}

// remove removes entries from the stream.
func (w *Writer) remove(ctx context.Context, recorded []broker.Recorded) error {
	ids := make([]string, len(recorded))
	for i, r := range recorded {
		ids[i] = r.ID
	}
	if err := w.cfg.Outbox.Remove(ctx, w.cfg.Stream, ids); err != nil {
		return &brokerError{fmt.Errorf("remove entries from the stream: %w", err)}
	}
	return nil
}

// write stores entries. Of entries that the database refuses for their values, the others
// are stored.
func (w *Writer) write(ctx context.Context, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	n, err := w.db.apply(ctx, entries)
	switch {
	case err == nil:
		w.status.wrote(n)
		w.batch = min(w.batch*2, mostEntries)
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		w.batch = max(w.batch/2, fewEntries)
		return err
	case !isData(err):
		return err
	case len(entries) == 1:
		w.skip(ctx, fmt.Sprintf("%d-%d", entries[0].ms, entries[0].seq), err)
		return nil
	}
	half := len(entries) / 2
	return errors.Join(w.write(ctx, entries[:half]), w.write(ctx, entries[half:]))
}

// skip counts an entry that cannot be stored. The log has its id and no value of it.
func (w *Writer) skip(ctx context.Context, id string, err error) {
	if w.status.skipped() {
		w.cfg.Logger.WarnContext(ctx, "event of a mail skipped: it cannot be stored; logged once a minute", "entry", id, "error", err)
	}
}

// trim removes the oldest entries while history is off. One worker does it.
func (w *Writer) trim(ctx context.Context) error {
	held, err := w.lease(ctx)
	if err != nil || !held {
		return err
	}
	backlog, err := w.cfg.Outbox.Backlog(ctx, w.cfg.Stream)
	if err != nil {
		return &brokerError{fmt.Errorf("read the length of the stream: %w", err)}
	}
	for excess := backlog.Length - keptWhileOff; excess > 0 && ctx.Err() == nil; {
		oldest, err := w.cfg.Outbox.Oldest(ctx, w.cfg.Stream, min(excess, mostEntries))
		if err != nil || len(oldest) == 0 {
			return err
		}
		if err := w.remove(ctx, oldest); err != nil {
			return err
		}
		w.status.discarded(len(oldest))
		excess -= len(oldest)
	}
	return nil
}

// look reads the backlog for the status.
func (w *Writer) look(ctx context.Context) {
	now := w.cfg.Now()
	if now.Sub(w.looked) < lookPeriod || ctx.Err() != nil {
		return
	}
	w.looked = now
	backlog, err := w.cfg.Outbox.Backlog(ctx, w.cfg.Stream)
	switch {
	case err == nil:
		w.status.backlog(backlog, now)
	case ctx.Err() == nil:
		w.status.unlooked()
	}
}
