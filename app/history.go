package app

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
)

// history keeps the history of mails. nil keeps none.
type history struct {
	db     *sqlx.DB
	sealer *ledger.Sealer // nil: no event is recorded
	writer *ledger.Writer
}

// historyConns is the number of connections to the database of the history, and bounceConns
// that of further ones of a worker that takes bounces in.
const (
	historyConns = 2
	bounceConns  = 4
)

// openHistory returns the history of the configuration. It connects to nothing.
func openHistory(cfg config.Config, b any, log *slog.Logger) (*history, error) {
	can := broker.CapabilitiesOf(b)
	if cfg.Ledger.Off || can.Outbox == nil {
		return nil, nil
	}
	h := new(history)
	var err error
	secrets, _ := b.(ledger.SecretKeeper)
	if h.sealer, err = newSealer(cfg.Ledger, secrets); err != nil {
		return nil, err
	}
	if h.db, err = openLedger(cfg); err != nil {
		return nil, err
	}
	h.writer, err = ledger.NewWriter(ledger.WriterConfig{
		DB: h.db, Outbox: can.Outbox, Leaser: can.Leaser, Sealer: h.sealer,
		Reference: mail.Reference, Retention: cfg.Ledger.Retention, Logger: log,
	})
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// Run writes the history until ctx ends.
func (h *history) Run(ctx context.Context) error {
	if h == nil || h.writer == nil {
		return nil
	}
	return h.writer.Run(ctx)
}

func (h *history) close() {
	if h != nil && h.db != nil {
		_ = h.db.Close()
	}
}

// state returns the state of the history for the health server.
func (h *history) state() monitor.LedgerState {
	if h == nil || h.writer == nil {
		return monitor.LedgerState{Off: true, Reason: "off, by LEDGER_DATABASE_URL"}
	}
	s := h.writer.Status()
	return monitor.LedgerState{
		Writing: s.On, Reason: s.Reason, Since: s.Since,
		Waiting: int64(s.Waiting), Lag: s.Lag, Dropped: s.Dropped,
		Written: s.Written, Skipped: s.Skipped, Discarded: s.Discarded, Stray: s.Stray,
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
	if path := cfg.Ledger.SQLite; path != "" {
		return ledger.OpenSQLite(path)
	}
	c := storeConfig(cfg.Ledger.Database)
	c.MaxOpen, c.QueryTimeout = historyConns, ledger.DefaultTimeout
	if cfg.Bounces.Address != "" || cfg.Bounces.WebhookAddr != "" {
		c.MaxOpen += bounceConns
	}
	db, err := store.OpenDB(c)
	if err != nil {
		return nil, config.Add(nil, config.Problem{Variable: "LEDGER_DATABASE_URL", Wrong: err.Error()})
	}
	return db, nil
}

// Deliveries is the history of mails for commands.
type Deliveries struct {
	*ledger.Reader
	db *sqlx.DB
}

var _ monitor.Deliveries = Deliveries{}

// OpenDeliveries returns the history of the configuration. It dials when it is used. The
// caller must call Close.
func OpenDeliveries(cfg config.Config) (Deliveries, error) {
	if cfg.Ledger.Off {
		return Deliveries{}, fmt.Errorf("there is no history of mails: LEDGER_DATABASE_URL is off; set it to the database of the workers")
	}
	if path := cfg.Ledger.SQLite; path != "" {
		if _, err := os.Stat(path); err != nil { // opening would make an empty one
			if e, ok := err.(*fs.PathError); ok {
				err = e.Err
			}
			return Deliveries{}, fmt.Errorf("there is no history of mails in the file %s of LEDGER_DATABASE_URL: %w; a worker makes it at its start", path, err)
		}
	}
	sealer, err := newSealer(cfg.Ledger, nil)
	if err != nil {
		return Deliveries{}, err
	}
	db, err := openLedger(cfg)
	if err != nil {
		return Deliveries{}, &UsageError{Err: err}
	}
	return Deliveries{Reader: ledger.NewReader(ledger.ReaderConfig{DB: db, Sealer: sealer}), db: db}, nil
}

// Close closes the connections.
func (d Deliveries) Close() error { return d.db.Close() }
