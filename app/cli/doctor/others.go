package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
)

// examineZero tells of the secrets by the error of reading the configuration. Other errors than
// those of Zero are none of it.
func examineZero(err error) finding {
	f := finding{Check: "zero", Status: ok, Text: "it has given the secrets"}
	_, unavailable := errors.AsType[*config.ZeroError](err)
	switch {
	case !config.AsksZero(nil):
		f.Status, f.Text = off, "ZERO_TOKEN is not set"
	case unavailable || errors.Is(err, config.ErrZeroRefused):
		f.Status, f.Text = failed, err.Error()+". Nothing else is examined, because its settings may be there"
	}
	return f
}

// examineDatabase examines the table of the users, in the words of the health.
func examineDatabase(ctx context.Context, cfg config.Config) finding {
	f := finding{Check: "database", Status: ok, Text: "users can be looked up"}
	if err := app.ExamineDatabase(ctx, cfg); err != nil {
		f.Status, f.Text = failed, databaseFault(err)
	}
	return f
}

// databaseFault returns the fault of a database with what to do.
func databaseFault(err error) string {
	if s, ok := errors.AsType[interface {
		error
		Summary() string
	}](err); ok {
		return s.Summary()
	}
	return cmp.Or(ledger.Unavailability(err), err.Error())
}

// examineHistory examines the database of the history. Without it mails are sent all the same.
func examineHistory(ctx context.Context, cfg config.Config, timeout time.Duration) finding {
	f := finding{Check: "history", Status: ok, Text: "its tables are there, with all rights"}
	if cfg.Ledger.Off {
		f.Status, f.Text = off, "LEDGER_DATABASE_URL is off"
		return f
	}
	r, err := app.ExamineHistory(ctx, cfg, timeout)
	switch {
	case err != nil:
		f.Status, f.Text = degraded, databaseFault(err)
	case r.Fault != "":
		f.Status, f.Text = degraded, r.Fault
	case !r.Tables:
		f.Text = "a worker makes its tables at the start"
	case r.Missing > 0:
		f.Text = "a worker brings its tables up to date at the start: " + term.Count(int64(r.Missing), "migration")
	}
	if r.Warning != "" {
		f.Status, f.Notes = degraded, []string{r.Warning}
	}
	return f
}

// examineRelay examines one mail relay, in the words of the health.
func examineRelay(ctx context.Context, cfg config.Config, relay int, login bool) finding {
	s := cfg.Relays[relay]
	mode := map[string]string{"starttls": "STARTTLS", "implicit": "TLS", "none": "no TLS"}[s.TLSMode]
	f := finding{Check: "mail", Target: app.RelayAddress(s), Status: ok, Text: mode + ", EHLO answered"}
	switch {
	case s.Username == "" && s.Logins == nil:
		f.Text += ", no login is set"
	case login:
		f.Text += ", logged in"
	default:
		f.Text += ", the login is not tried (--login)"
	}
	err := app.ExamineRelay(ctx, cfg, relay, login)
	if err == nil {
		return f
	}
	f.Status, f.Text = failed, err.Error()
	if e, ok := errors.AsType[*mail.SendError](err); ok {
		f.Text = e.Explain()
	}
	return f
}

// examineTemplates checks the templates as "templates lint" does.
func examineTemplates(ctx context.Context, cfg config.Config) finding {
	f := finding{Check: "templates", Status: ok, Text: "those of the program; TEMPLATES_DIR is not set"}
	s := app.OpenTemplates(ctx, cfg, slog.New(slog.DiscardHandler)).State()
	if s.Dir != "" {
		f.Target, f.Text = s.Dir, term.Count(int64(s.Files), "template")
	}
	faults, warnings := len(s.Faults), len(s.Warnings)+len(s.Skipped)
	switch {
	case faults > 0:
		f.Status = failed
		f.Text = fmt.Sprintf("%s, such as %s; see templates lint", term.Count(int64(faults), "fault"), s.Faults[0].Error())
	case warnings > 0:
		f.Status = degraded
		f.Text += fmt.Sprintf(", %s; see templates lint", term.Count(int64(warnings), "warning"))
	}
	return f
}
