package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/evently/workers/worker/broker"
)

// Store is a database with the rows of the trail.
type Store interface {
	// Extend calls grow with the record of the head ("" for an empty trail) and a function
	// that returns the origins of those rows that some ids have. It stores the rows and the new record that
	// grow returns. Meanwhile no other process extends the trail.
	Extend(ctx context.Context, grow func(record string, stored func(ids []string) (map[string]string, error)) ([]Row, string, error)) error
	// Record returns the record of the head.
	Record(ctx context.Context) (string, error)
	// Rows returns rows after a number, in their order, at most limit.
	Rows(ctx context.Context, after int64, limit int) ([]Row, error)
	// List returns rows that a filter selects, the newest first.
	List(ctx context.Context, f Filter) ([]Row, error)
}

// Journal keeps the trail while the database is unavailable, and notes of heads. The
// journals of worker/redis are some.
type Journal interface {
	Head(ctx context.Context) (string, error)
	Append(ctx context.Context, head, next string, entries ...[]string) (now string, err error)
	After(ctx context.Context, id string, max int) ([]broker.Recorded, error)
	Remove(ctx context.Context, ids []string) error
	Backlog(ctx context.Context) (broker.Backlog, error)
	Note(ctx context.Context, number int64, text string) error
	Notes(ctx context.Context) ([]string, error)
}

// ErrNoTables is the error of a database without the tables of the trail.
var ErrNoTables = errors.New("there is no audit trail in this database: a worker makes the tables at its start, or run the SQL of ledger migrations --sql")

// TrailConfig is the configuration of a [Trail]. One of Store and Journal is required.
type TrailConfig struct {
	Store    Store   // nil: there is no database
	Journal  Journal // nil: there is no broker
	Keys     Keys
	Patience time.Duration // for the database and for the broker; default: 5 s
	Logger   *slog.Logger  // default: slog.Default()
	Now      func() time.Time
}

// Trail writes and reads the audit trail. It is safe for concurrent use.
type Trail struct {
	cfg TrailConfig
}

// New checks cfg and returns a Trail. It does no I/O.
func New(cfg TrailConfig) (*Trail, error) {
	if cfg.Store == nil && cfg.Journal == nil {
		return nil, errors.New("an audit trail needs a database or a broker")
	}
	for _, key := range cfg.Keys {
		if len(key) < ShortestKey {
			return nil, fmt.Errorf("AUDIT_KEY has %d bytes: it must have %d or more, such as the output of openssl rand -base64 32", len(key), ShortestKey)
		}
	}
	cfg.Patience = cmp.Or(cfg.Patience, 5*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Trail{cfg}, nil
}

// Append writes entries. Each gets an id and the present time, if it has none. They are
// stored when Append returns nil: in the database, or in the broker if the database is
// unavailable.
func (t *Trail) Append(ctx context.Context, entries ...Entry) error {
	var all []Entry
	for _, e := range entries {
		if e.At.IsZero() {
			e.At = t.cfg.Now()
		}
		all = append(all, e.split()...)
	}
	var storeErr error
	if t.cfg.Store != nil {
		if storeErr = t.store(ctx, all); storeErr == nil {
			return nil
		}
		if ctx.Err() != nil {
			return storeErr
		}
	}
	if t.cfg.Journal == nil {
		return storeErr
	}
	if err := t.toJournal(ctx, all); err != nil {
		return errors.Join(storeErr, err)
	}
	if storeErr != nil {
		t.cfg.Logger.WarnContext(ctx, "audit entry waits in the broker: the database is unavailable", "error", storeErr)
	}
	return nil
}

// store writes entries to the database, after the entries that wait in the broker.
func (t *Trail) store(ctx context.Context, entries []Entry) error {
	if t.cfg.Journal != nil {
		if _, err := t.Move(ctx); err != nil {
			if _, ofBroker := errors.AsType[*journalError](err); !ofBroker {
				return err
			}
			t.cfg.Logger.WarnContext(ctx, "waiting audit entries not moved to the database", "error", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Patience)
	defer cancel()
	var head Head
	err := t.cfg.Store.Extend(ctx, func(record string, _ func([]string) (map[string]string, error)) ([]Row, string, error) {
		var rows []Row
		last, err := t.last(record)
		if err != nil {
			return nil, "", err
		}
		rows, head = t.cfg.Keys.extend(Database, last, entries, nil)
		return rows, t.cfg.Keys.seal(head), nil
	})
	if err != nil {
		return fmt.Errorf("write the audit trail: %w", err)
	}
	t.note(ctx, head)
	return nil
}

// last returns the head of a record.
func (t *Trail) last(record string) (Head, error) {
	if record == "" {
		return Head{}, nil
	}
	head, genuine := t.cfg.Keys.unseal(record)
	if head == (Head{}) {
		return head, errors.New("the record of the end of the audit trail cannot be read; audit verify tells more")
	}
	if !genuine {
		t.cfg.Logger.Warn("the record of the end of the audit trail was not made with AUDIT_KEY; run audit verify")
	}
	return head, nil
}

// note keeps a head of the database in the broker. The rows are stored in any case.
func (t *Trail) note(ctx context.Context, head Head) {
	if t.cfg.Journal == nil {
		return
	}
	const longest = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	defer cancel()
	if err := t.cfg.Journal.Note(ctx, head.Number, t.cfg.Keys.seal(head)); err != nil {
		t.cfg.Logger.WarnContext(ctx, "end of the audit trail not noted in the broker", "head", head.String(), "error", err)
	}
}

// journalError is a fault of the broker; other errors are faults of the database.
type journalError struct{ err error }

func (e *journalError) Error() string { return e.err.Error() }
func (e *journalError) Unwrap() error { return e.err }

// toJournal writes entries to the journal.
func (t *Trail) toJournal(ctx context.Context, entries []Entry) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Patience)
	defer cancel()
	current, err := t.cfg.Journal.Head(ctx)
	for err == nil {
		var head Head
		if head, err = ParseHead(current); err != nil {
			break
		}
		rows, next := t.cfg.Keys.extend(Stream, head, entries, nil)
		texts := make([][]string, len(rows))
		for i, r := range rows {
			texts[i] = r.fields()
		}
		before := current
		if current, err = t.cfg.Journal.Append(ctx, before, next.String(), texts...); err == nil && current == next.String() {
			return nil
		}
		if err == nil {
			err = ctx.Err() // another writer was faster
		}
	}
	return fmt.Errorf("write the audit trail to the broker: %w", err)
}

// movedAtOnce is the number of entries that one transaction moves.
const movedAtOnce = 500

// Move moves the entries that wait in the broker to the database, in their order. It returns
// how many it moved. Several processes may do it at once.
func (t *Trail) Move(ctx context.Context) (moved int, err error) {
	for {
		n, err := t.moveSome(ctx)
		moved += n
		if err != nil || n < movedAtOnce {
			return moved, err
		}
	}
}

func (t *Trail) moveSome(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Patience)
	defer cancel()
	waiting, err := t.cfg.Journal.Backlog(ctx)
	if err != nil {
		return 0, &journalError{err}
	}
	if waiting.Length == 0 {
		return 0, nil
	}
	var recorded []broker.Recorded
	var head Head
	err = t.cfg.Store.Extend(ctx, func(record string, stored func([]string) (map[string]string, error)) ([]Row, string, error) {
		// Read while no other process extends the trail: it may have moved them.
		var err error
		if recorded, err = t.cfg.Journal.After(ctx, "", movedAtOnce); err != nil {
			return nil, "", &journalError{err}
		}
		entries, origins, err := t.unstored(ctx, recorded, stored)
		if err != nil || len(entries) == 0 {
			return nil, "", err
		}
		last, err := t.last(record)
		if err != nil {
			return nil, "", err
		}
		var rows []Row
		rows, head = t.cfg.Keys.extend(Database, last, entries, origins)
		return rows, t.cfg.Keys.seal(head), nil
	})
	if err != nil {
		return 0, fmt.Errorf("move waiting audit entries to the database: %w", err)
	}
	ids := make([]string, len(recorded))
	for i, r := range recorded {
		ids[i] = r.ID
	}
	if err := t.cfg.Journal.Remove(ctx, ids); err != nil {
		return 0, &journalError{err} // they are moved, and recognised by their ids
	}
	if head != (Head{}) {
		t.note(ctx, head)
	}
	return len(recorded), nil
}

// unstored returns the entries of the journal that are not in the database yet, with their
// places in the journal. A commit without an answer may have stored some of them.
func (t *Trail) unstored(ctx context.Context, recorded []broker.Recorded, stored func([]string) (map[string]string, error)) (entries []Entry, origins []string, err error) {
	rows := make([]Row, 0, len(recorded))
	ids := make([]string, 0, 2*len(recorded))
	for _, r := range recorded {
		row, err := parseFields(r.Fields)
		if err != nil {
			t.cfg.Logger.ErrorContext(ctx, "entry of the audit trail in the broker unreadable", "entry", r.ID, "error", err)
			row = Row{Entry: Entry{ID: "unreadable " + r.ID, At: r.At, Via: "worker", Action: "audit.unreadable", Outcome: Failed}}
		}
		row.ID = clean(row.ID, longestID)
		rows, ids = append(rows, row), append(ids, row.ID, row.ID+repeated)
	}
	if len(rows) == 0 {
		return nil, nil, nil
	}
	known, err := stored(ids)
	if err != nil {
		return nil, nil, err
	}
	for i, row := range rows {
		origin := row.origin()
		e := row.split()[0]
		if _, again := known[e.ID]; again {
			e.ID += repeated
		}
		if _, again := known[e.ID]; again || known[ids[2*i]] == origin {
			continue // an earlier move had no answer
		}
		known[e.ID] = origin
		entries, origins = append(entries, e), append(origins, origin)
	}
	return entries, origins, nil
}

// origin returns the place of a row of the stream: its number, the hash before it, its key
// and its hash.
func (r Row) origin() string {
	return fmt.Sprintf("%d %s %s %s", r.Number, r.Prev, cmp.Or(r.Key, "-"), r.Hash)
}

// Head returns the end of the trail in the database, number:hash, "" while it is empty.
func (t *Trail) Head(ctx context.Context) (string, error) {
	record, err := t.cfg.Store.Record(ctx)
	if err != nil {
		return "", fmt.Errorf("read the end of the audit trail: %w", err)
	}
	head, _ := t.cfg.Keys.unseal(record)
	return head.String(), nil
}
