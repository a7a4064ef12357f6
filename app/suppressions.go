package app

import (
	"log/slog"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/config"
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
