package deliveries

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/store/ledger"
)

// LedgerCmd is for the database of the history.
type LedgerCmd struct {
	Status     ledgerStatusCmd     `cmd:"" help:"Show whether history is kept, and since when."`
	Migrations ledgerMigrationsCmd `cmd:"" help:"Print the SQL that makes the tables."`
}

// Help is the long help of the command.
func (LedgerCmd) Help() string {
	return `A worker makes the tables of the history at its start, if the user of the
database may create a schema. Otherwise an administrator runs the SQL.

Examples:

    ` + term.ProgramName + ` ledger status
    ` + term.ProgramName + ` ledger migrations --sql | psql -d evently`
}

type ledgerMigrationsCmd struct {
	SQL bool `name:"sql" help:"Print the SQL; nothing is run." required:""`
}

// Help is the long help of the command.
func (ledgerMigrationsCmd) Help() string {
	return `The SQL is for PostgreSQL and may run more than once. Workers note what was run,
and go on from there. docs/ledger.md lists the rights that workers need then.

Examples:

    ` + term.ProgramName + ` ledger migrations --sql | psql -d evently
    ` + term.ProgramName + ` ledger migrations --sql > history.sql`
}

// Run prints the SQL.
func (ledgerMigrationsCmd) Run(t term.Terminal) error {
	_, err := fmt.Fprint(t.Out, ledger.Migrations())
	return err
}

type ledgerStatusCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (ledgerStatusCmd) Help() string {
	return `Asks the database and Redis. The exit code is 1 if the history cannot be read, or
if events wait for more than a minute. The reason why events are not written is
in the health of the workers, at /health/history.

Examples:

    ` + term.ProgramName + ` ledger status
    ` + term.ProgramName + ` ledger status --json`
}

// ledgerStatus is the state of the history, as a command sees it.
type ledgerStatus struct {
	Off       bool       `json:"off"`
	Database  string     `json:"database"`
	Error     string     `json:"error,omitempty"`
	Since     *time.Time `json:"since,omitempty"`  // first claim of the oldest mail
	Latest    *time.Time `json:"latest,omitempty"` // first claim of the latest mail
	Encrypted bool       `json:"addresses_encrypted"`
	Days      float64    `json:"retention_days"`

	Redis   string  `json:"redis_error,omitempty"`
	Waiting int     `json:"waiting_events"`
	Lag     float64 `json:"lag_seconds"`
	Dropped int64   `json:"dropped_events"`
}

// Run prints the status.
func (c ledgerStatusCmd) Run(ctx context.Context, t term.Terminal) error {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return err
	}
	s := ledgerStatus{Off: cfg.Ledger.Off, Database: databaseName(cfg), Encrypted: len(cfg.Ledger.Keys) > 0, Days: cfg.Ledger.Retention.Hours() / 24}
	if !s.Off {
		s.readDatabase(ctx, cfg)
		for _, b := range cfg.Brokers {
			cfg.Redis = b.Redis
			s.readRedis(ctx, cfg, b.Name)
		}
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, s)
	} else {
		_, err = fmt.Fprint(t.Out, s.text(term.ParagraphWidth(t)))
	}
	if err == nil && (s.Error != "" || s.Lag > 60) {
		return term.ErrSilent
	}
	return err
}

// databaseName names the database without a password.
func databaseName(cfg config.Config) string {
	switch {
	case cfg.Ledger.Off:
		return "off"
	case cfg.Ledger.SQLite != "":
		return "SQLite, " + cfg.Ledger.SQLite
	case cfg.Ledger.Database == cfg.Database:
		return "PostgreSQL, that of the service"
	}
	return "PostgreSQL, of LEDGER_DATABASE_URL"
}

func (s *ledgerStatus) readDatabase(ctx context.Context, cfg config.Config) {
	d, err := app.OpenDeliveries(cfg)
	if err != nil {
		s.Error = err.Error()
		return
	}
	defer d.Close()
	oldest, err := d.Oldest(ctx)
	if err == nil && !oldest.IsZero() {
		s.Since = &oldest
		var page ledger.Page
		if page, err = d.List(ctx, ledger.Filter{Limit: 1}); err == nil && len(page.Mails) > 0 {
			s.Latest = &page.Mails[0].FirstSeen
		}
	}
	if err != nil {
		s.Error = err.Error()
	}
}

// readRedis adds what waits in a broker.
func (s *ledgerStatus) readRedis(ctx context.Context, cfg config.Config, name string) {
	fail := func(text string) {
		if name != "" {
			text = name + ": " + text
		}
		if s.Redis != "" {
			text = s.Redis + "; " + text
		}
		s.Redis = text
	}
	ctx, cancel := context.WithTimeout(ctx, verdict.RedisPatience)
	defer cancel()
	b, err := app.OpenBroker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		fail(err.Error())
		return
	}
	defer b.Close()
	backlog, err := b.Backlog(ctx, ledger.StreamName)
	if err != nil {
		fail(verdict.PlainError(err))
		return
	}
	s.Waiting, s.Dropped = s.Waiting+backlog.Length, s.Dropped+backlog.Dropped
	if backlog.Length > 0 && !backlog.Oldest.IsZero() {
		s.Lag = max(s.Lag, time.Since(backlog.Oldest).Seconds())
	}
}

// text returns the status for people.
func (s ledgerStatus) text(width int) string {
	var rows [][2]string
	row := func(name, text string) { rows = append(rows, [2]string{name, text}) }
	row("database", s.Database)
	switch {
	case s.Off:
		row("history", "off, by LEDGER_DATABASE_URL")
	case s.Error != "":
		row("history", "cannot be read: "+s.Error)
	case s.Since == nil:
		row("history", "empty: no worker has stored a mail yet")
	default:
		row("history", "since "+term.Clock(*s.Since))
		row("latest", "mail claimed at "+term.Clock(*s.Latest)+", "+term.Until(*s.Latest))
	}
	if !s.Off {
		addresses := "masked only, because LEDGER_KEY is not set here"
		if s.Encrypted {
			addresses = "masked, and encrypted with LEDGER_KEY"
		}
		row("addresses", addresses)
		row("retention", fmt.Sprintf("%g days", s.Days))
		if s.Redis != "" {
			row("Redis", "cannot be asked for events that wait: "+term.Line(s.Redis))
		} else {
			waiting := fmt.Sprintf("events that wait: %d", s.Waiting)
			if s.Waiting > 0 {
				waiting += ", the oldest for " + term.Spell(time.Duration(s.Lag*float64(time.Second)))
			}
			row("Redis", fmt.Sprintf("%s; lost: %d", waiting, s.Dropped))
		}
	}
	const indent = "           "
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(term.Fold(fmt.Sprintf("%-*s%s", len(indent), r[0], r[1]), width, indent) + "\n")
	}
	return b.String()
}
