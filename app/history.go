package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/worker/broker"
)

// history is the database of the history of mails, with what all brokers of the process share.
// nil: there is no history.
type history struct {
	db     *sqlx.DB
	sealer *ledger.Sealer
	checks *checks // nil: no address is checked
}

// historyConns is the number of connections to the database of the history, and bounceConns
// that of further ones of a worker that takes bounces in.
const (
	historyConns = 2
	bounceConns  = 4
)

// hangAfter is the time without an answer after which the database of the history is asked
// whether it is there.
const hangAfter = time.Second

// openHistory returns the history of the configuration. secrets keeps the key of the hashes of
// addresses if there is no LEDGER_KEY. It connects to nothing.
func openHistory(cfg config.Config, secrets ledger.SecretKeeper, log *slog.Logger) (*history, error) {
	if cfg.Ledger.Off {
		return nil, nil
	}
	h := new(history)
	var err error
	if h.sealer, err = newSealer(cfg.Ledger, secrets); err != nil {
		return nil, err
	}
	if h.db, err = openLedger(cfg); err != nil {
		return nil, err
	}
	if h.checks, err = openChecks(cfg, h.sealer, log); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// newWriter returns what writes the events of a broker; nil if there is no history.
func (h *history) newWriter(cfg config.Config, b any, log *slog.Logger) (*ledger.Writer, error) {
	if h == nil {
		return nil, nil
	}
	can := broker.CapabilitiesOf(b)
	w := ledger.WriterConfig{
		DB: h.db, Outbox: can.Outbox, Leaser: can.Leaser, Sealer: h.sealer,
		Reference: mail.Reference, Retention: cfg.Ledger.Retention, Logger: log,
	}
	if s := newSuppressions(cfg, h.db, h.sealer); s != nil {
		w.Follower, w.Suppressor = s, s
	}
	return ledger.NewWriter(w)
}

func (h *history) close() {
	if h == nil {
		return
	}
	h.checks.close()
	if h.db != nil {
		_ = h.db.Close()
	}
}

// newSealer returns the sealer of addresses. secrets may be nil.
func newSealer(l config.Ledger, secrets ledger.SecretKeeper) (*ledger.Sealer, error) {
	c := ledger.SealerConfig{Secrets: secrets, Mask: mail.MaskAddress}
	for i, key := range l.Keys {
		if i == 0 {
			c.Key = key.Reveal()
		} else {
			c.Former = append(c.Former, key.Reveal())
		}
	}
	return ledger.NewSealer(c)
}

// openLedger returns the database of the history.
func openLedger(cfg config.Config) (*sqlx.DB, error) {
	conns := historyConns + max(0, len(cfg.Brokers)-1) // a writer for each broker
	if cfg.Bounces.Address != "" || cfg.Bounces.WebhookAddr != "" {
		conns += bounceConns
	}
	return openLedgerWith(cfg, conns, ledger.DefaultTimeout)
}

// openLedgerWith returns the database of the history with a number of connections at most.
// timeout bounds each read and write.
func openLedgerWith(cfg config.Config, conns int, timeout time.Duration) (*sqlx.DB, error) {
	if path := cfg.Ledger.SQLite; path != "" {
		return ledger.OpenSQLite(path)
	}
	c := storeConfig(cfg.Ledger.Database)
	c.MaxOpen, c.QueryTimeout, c.HangAfter = conns, timeout, hangAfter
	db, err := store.OpenDB(c)
	if err != nil {
		return nil, config.Add(nil, config.Problem{Variable: "LEDGER_DATABASE_URL", Wrong: err.Error()})
	}
	onChange(cfg.Ledger.Database.Logins, func() { store.Renew(db) })
	return db, nil
}

// Deliveries is the history of mails for commands.
type Deliveries struct {
	*ledger.Reader
	keyCheck
	suppressions *suppressions.Store
}

// ErrOtherKey is why addresses are not found that are in the history.
var ErrOtherKey = errors.New("LEDGER_KEY is not that of the workers, and addresses are not found without it")

// keyCheck compares the LEDGER_KEY of a command with that of the workers.
type keyCheck struct {
	db     *sqlx.DB
	sealer *ledger.Sealer
}

// CheckKey returns [ErrOtherKey] if the workers have another LEDGER_KEY, as far as the database
// tells it. Its other faults are for the work that follows to report.
func (k keyCheck) CheckKey(ctx context.Context) error {
	if other, err := ledger.NewDB(k.db, ledger.DefaultTimeout).OtherKey(ctx, k.sealer); err == nil && other {
		return ErrOtherKey
	}
	return nil
}

var _ monitor.Deliveries = Deliveries{}

// OpenDeliveries returns the history of the configuration. It dials when it is used. The
// caller must call Close.
func OpenDeliveries(cfg config.Config) (Deliveries, error) {
	db, sealer, err := openForCommand(cfg, "history of mails")
	if err != nil {
		return Deliveries{}, err
	}
	return newDeliveries(db, sealer), nil
}

// openDeliveriesLater returns the history for a monitor, which may start before the worker that
// makes the file of SQLite.
func openDeliveriesLater(cfg config.Config) (Deliveries, error) {
	if cfg.Ledger.SQLite == "" {
		return OpenDeliveries(cfg)
	}
	sealer, err := newSealer(cfg.Ledger, nil)
	if err != nil {
		return Deliveries{}, err
	}
	db, err := ledger.OpenSQLiteOfWorker(cfg.Ledger.SQLite)
	if err != nil {
		return Deliveries{}, err
	}
	return newDeliveries(db, sealer), nil
}

func newDeliveries(db *sqlx.DB, sealer *ledger.Sealer) Deliveries {
	return Deliveries{
		Reader: ledger.NewReader(ledger.ReaderConfig{DB: db, Sealer: sealer, Reference: mail.Reference}), keyCheck: keyCheck{db, sealer},
		suppressions: suppressions.New(suppressions.Config{DB: db, Sealer: sealer}),
	}
}

// openForCommand returns the database of the history, which must be there, with the sealer
// of its addresses. what names what is looked for.
func openForCommand(cfg config.Config, what string) (*sqlx.DB, *ledger.Sealer, error) {
	if cfg.Ledger.Off {
		return nil, nil, fmt.Errorf("there is no %s: LEDGER_DATABASE_URL is off; set it to the database of the workers", what)
	}
	if path := cfg.Ledger.SQLite; path != "" {
		if _, err := os.Stat(path); err != nil { // opening would make an empty one
			if e, ok := err.(*fs.PathError); ok {
				err = e.Err
			}
			return nil, nil, fmt.Errorf("there is no %s in the file %s of LEDGER_DATABASE_URL: %w; a worker makes it at its start", what, path, err)
		}
	}
	sealer, err := newSealer(cfg.Ledger, nil)
	if err != nil {
		return nil, nil, err
	}
	db, err := openLedger(cfg)
	if err != nil {
		return nil, nil, &UsageError{Err: err}
	}
	return db, sealer, nil
}

// Erase removes the data about a person, also from the suppressions. It returns the number
// of changed mails.
func (d Deliveries) Erase(ctx context.Context, e ledger.Erasure) (erased int64, err error) {
	hashes, err := d.Hashes(ctx, e)
	if err != nil {
		return 0, err
	}
	if _, err := d.suppressions.Erase(ctx, hashes); err != nil {
		return 0, err
	}
	return d.Reader.Erase(ctx, e)
}

// Suppressed returns the suppressions in force of the recipient of a mail.
func (d Deliveries) Suppressed(ctx context.Context, m ledger.Mail) ([]suppressions.Suppression, error) {
	return d.suppressions.OfMail(ctx, m)
}

// SuppressedAddress returns the suppressions in force of an address.
func (d Deliveries) SuppressedAddress(ctx context.Context, address string) ([]suppressions.Suppression, error) {
	page, err := d.suppressions.List(ctx, suppressions.Filter{Of: address, State: suppressions.Active})
	return page.Suppressions, err
}

// Close closes the connections.
func (d Deliveries) Close() error { return d.db.Close() }
