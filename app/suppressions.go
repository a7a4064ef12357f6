package app

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
)

// newSuppressions returns the suppressions that the writer of the history keeps, nil if
// nothing is recorded.
func newSuppressions(cfg config.Config, db *sqlx.DB, sealer *ledger.Sealer) *suppressions.Store {
	if cfg.Delivery.Suppressions == "off" {
		return nil
	}
	return suppressions.New(suppressions.Config{DB: db, Sealer: sealer})
}

// checks asks whether addresses are suppressed. It has a separate connection, so that no
// mail waits for a batch of the history. nil checks nothing.
type checks struct {
	*suppressions.Checker
	db *sqlx.DB
}

// checkConns is the number of connections for the checks: questions at the same time share a
// query.
const checkConns = 1

// openChecks returns the checks of the configuration. It connects to nothing.
func openChecks(cfg config.Config, sealer *ledger.Sealer, log *slog.Logger) (*checks, error) {
	if cfg.Delivery.Suppressions != "on" {
		return nil, nil
	}
	const timeout = 2 * time.Second
	db, err := openLedgerWith(cfg, checkConns, timeout)
	if err != nil {
		return nil, err
	}
	s := suppressions.New(suppressions.Config{DB: db, Sealer: sealer, Timeout: timeout})
	return &checks{Checker: suppressions.NewChecker(s, log), db: db}, nil
}

func (c *checks) close() {
	if c != nil {
		c.Checker.Close()
		_ = c.db.Close()
	}
}

// suppressionCounter counts the suppressions in force, for /metrics. nil counts nothing.
type suppressionCounter struct {
	store  *suppressions.Store
	log    *slog.Logger
	counts atomic.Pointer[monitor.SuppressionCounts]
}

// suppressionLook is the time between two counts.
const suppressionLook = 5 * time.Minute

// newSuppressionCounter returns a counter for the history of the configuration.
func newSuppressionCounter(cfg config.Config, h *history, log *slog.Logger) *suppressionCounter {
	if h == nil || h.db == nil || cfg.Delivery.Suppressions == "off" {
		return nil
	}
	return &suppressionCounter{store: suppressions.New(suppressions.Config{DB: h.db, Sealer: h.sealer}), log: log}
}

// Run counts until ctx ends. While the database is unavailable it tries again after a while.
func (c *suppressionCounter) Run(ctx context.Context) error {
	if c == nil {
		return nil
	}
	const soon = 2 * time.Second
	timer := time.NewTimer(soon) // the tables may not be there yet
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		_, byClass, err := c.store.Count(ctx, suppressions.Filter{State: suppressions.Active})
		if err != nil {
			c.log.DebugContext(ctx, "suppressions not counted", "error", err)
			c.counts.Store(nil) // the former numbers may have changed
			timer.Reset(15 * soon)
			continue
		}
		counts := monitor.SuppressionCounts{}
		for _, class := range suppressions.Classes() {
			counts[string(class)] = byClass[class]
		}
		c.counts.Store(&counts)
		timer.Reset(suppressionLook)
	}
}

// latest returns the last counts, nil while the database does not answer.
func (c *suppressionCounter) latest() monitor.SuppressionCounts {
	if c == nil {
		return nil
	}
	if counts := c.counts.Load(); counts != nil {
		return *counts
	}
	return nil
}

// Suppressions are the addresses that get no mail, for commands.
type Suppressions struct {
	*suppressions.Store
	keyCheck
}

// OpenSuppressions returns the suppressions of the configuration. It dials when it is used.
// The caller must call Close.
func OpenSuppressions(cfg config.Config) (Suppressions, error) {
	db, sealer, err := openForCommand(cfg, "list of suppressions")
	if err != nil {
		return Suppressions{}, err
	}
	const timeout = 5 * time.Minute // of an import
	return Suppressions{Store: suppressions.New(suppressions.Config{DB: db, Sealer: sealer, Timeout: timeout}), keyCheck: keyCheck{db, sealer}}, nil
}

// Close closes the connections.
func (s Suppressions) Close() error { return s.db.Close() }

// Operator names the person who runs a command, as the audit trail does.
func Operator() string { return operator().Actor }
