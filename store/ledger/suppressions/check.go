package suppressions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/store/internal/lookups"
	"github.com/evently/workers/store/ledger"
)

// Bounds of the questions of a [Checker].
const (
	patienceOfCodes = 250 * time.Millisecond // a person waits for a code
	patience        = time.Second
	queryTimeout    = 2 * time.Second

	// pauseAfterFault is how long no question is asked after one without an answer. It
	// doubles up to the longest.
	pauseAfterFault, longestPause = time.Second, 10 * time.Second

	keysFresh = time.Minute // for so long the keys for hashes are kept
)

// Errors of questions that were not answered in time.
var (
	errLate        = noAnswer(patience)
	errLateForCode = noAnswer(patienceOfCodes)
)

func noAnswer(within time.Duration) error {
	return fmt.Errorf("no answer of the database within %g s: %w", within.Seconds(), context.DeadlineExceeded)
}

// errSkipped is the error of a question that was not asked, because of a fault just before.
var errSkipped = errors.New("database was unavailable a moment ago")

// Checker answers whether mails may be sent. Questions at the same time share a query. When
// the database does not answer in a short time, the mail may be sent: a suppressed mail too
// many harms less than a code too late. It is safe for concurrent use.
type Checker struct {
	store *Store
	log   *slog.Logger
	ask   *lookups.Lookups[string, []Suppression] // by address
	state checkState
}

// NewChecker returns a Checker that asks a store. Its database needs one connection. The
// caller must call Close.
func NewChecker(s *Store, log *slog.Logger) *Checker {
	if log == nil {
		log = slog.Default()
	}
	c := &Checker{store: s, log: log}
	c.ask = lookups.New(lookups.Config[string, []Suppression]{
		Most: 1, Timeout: queryTimeout, Query: c.query,
		Cause: noAnswer(queryTimeout),
	})
	return c
}

// Close waits for the queries in progress.
func (c *Checker) Close() { c.ask.Close() }

// Check returns the suppression that keeps a mail from being sent, nil for none. The error
// says that this is not known, within a quarter of a second for codes and a second for other
// mails. It is logged where the state changes.
func (c *Checker) Check(ctx context.Context, q Question) (*Suppression, error) {
	may, err := c.state.mayAsk(c.store.now())
	if !may {
		return nil, err
	}
	limit, cause := patience, errLate
	if q.Code {
		limit, cause = patienceOfCodes, errLateForCode
	}
	asking, cancel := context.WithTimeoutCause(ctx, limit, cause)
	defer cancel()
	found, err := c.ask.Ask(asking, q.Address)
	switch {
	case err == nil, errors.Is(err, ledger.ErrNoHistory), errors.Is(err, ledger.ErrNoKey): // without tables or keys there are none
		if c.state.worked(err != nil, c.store.now()) {
			c.log.InfoContext(ctx, "suppressions are checked again")
		}
		return strongest(found, q, c.store.now()), nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx) // the task ends; the database may be well
	}
	if c.state.failed(c.store.now()) {
		c.log.WarnContext(ctx, "suppressions not checked: the database is unavailable, mails are sent", "error", err)
	}
	return nil, err
}

// hasher returns the keys for hashes, which are read once a minute.
func (c *Checker) hasher(ctx context.Context) (ledger.Hasher, error) {
	now := c.store.now()
	if h, ok := c.state.keys(now); ok {
		return h, nil
	}
	h, err := c.store.db.Hasher(ctx, c.store.sealer)
	if err != nil {
		return h, err
	}
	c.state.keepKeys(h, now)
	return h, nil
}

// query answers questions in one query.
func (c *Checker) query(ctx context.Context, ls []*lookups.Lookup[string, []Suppression]) {
	h, err := c.hasher(ctx)
	hashes := make([][][]byte, len(ls))
	var found map[string][]Suppression
	if err == nil {
		for i, l := range ls {
			hashes[i] = h.Hashes(l.Key)
		}
		found, err = c.inForce(ctx, slices.Concat(hashes...))
	}
	if err != nil {
		err = ledger.Explain(err)
	}
	for i, l := range ls {
		var of []Suppression
		for _, hash := range hashes[i] {
			of = append(of, found[string(hash)]...)
		}
		l.Answer(of, err)
	}
}

// inForce returns the suppressions in force, by hash.
func (c *Checker) inForce(ctx context.Context, hashes [][]byte) (map[string][]Suppression, error) {
	s := c.store
	var rows []row
	err := s.db.Select(ctx, s.db.Pool(), &rows, "SELECT "+columns+" FROM evently_mail.suppressions WHERE rcpt_hash IN (?) AND ended_at IS NULL AND (expires_at IS NULL OR expires_at > ?)",
		hashes, s.db.Param(s.now()))
	if err != nil {
		return nil, err
	}
	found := make(map[string][]Suppression, len(rows))
	for _, r := range rows {
		r.Sealed = nil // the address is known
		found[string(r.Hash)] = append(found[string(r.Hash)], s.suppression(r))
	}
	return found, nil
}

// checkState is what a [Checker] remembers between questions.
type checkState struct {
	mu       sync.Mutex
	failures int       // in a row
	next     time.Time // when the database may be asked again, after a failure or without tables
	hasher   ledger.Hasher
	read     time.Time // when hasher was read; zero: not yet
}

// mayAsk reports whether the database may be asked. The error is nil if there are no
// suppressions. After a failure one question a time may be asked.
func (k *checkState) mayAsk(now time.Time) (may bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.next.IsZero() || !now.Before(k.next) && k.failures == 0:
		return true, nil
	case k.failures == 0:
		return false, nil
	case now.Before(k.next):
		return false, errSkipped
	}
	k.failures++ // until it answers
	k.next = now.Add(min(pauseAfterFault<<min(k.failures-1, 10), longestPause))
	return true, nil
}

// worked notes an answer and reports whether the question before had none. absent says that
// there are no tables.
func (k *checkState) worked(absent bool, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	failed := k.failures > 0
	k.failures, k.next = 0, time.Time{}
	if absent {
		k.next = now.Add(pauseAfterFault)
	}
	return failed
}

// failed notes a question without an answer and reports whether the one before had one.
// Questions that waited together count once.
func (k *checkState) failed(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failures > 0 {
		return false
	}
	k.failures, k.next = 1, now.Add(pauseAfterFault)
	return true
}

func (k *checkState) keys(now time.Time) (ledger.Hasher, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hasher, !k.read.IsZero() && now.Sub(k.read) < keysFresh
}

func (k *checkState) keepKeys(h ledger.Hasher, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hasher, k.read = h, now
}
