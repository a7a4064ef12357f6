// Package suppressions has the commands for addresses that get no mail.
package suppressions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/moment"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
)

// Cmd is for addresses that get no mail.
type Cmd struct {
	List    listCmd    `cmd:"" help:"List them, the latest evidence first."`
	Show    showCmd    `cmd:"" help:"Show why an address is suppressed, with all evidence."`
	Add     addCmd     `cmd:"" help:"Suppress an address."`
	Release releaseCmd `cmd:"" help:"Let addresses get mails again: some, a class or a domain."`
	Import  importCmd  `cmd:"" help:"Add the suppressions of a CSV file."`
	Export  exportCmd  `cmd:"" help:"Write suppressions as CSV."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `An address is suppressed by evidence about it: replies of mail servers, bounces
and complaints; or by a person. Mails to it are not sent. docs/suppressions.md
tells what counts, for how long, and which mails are sent all the same.
The commands use LEDGER_DATABASE_URL, or the service's database if that is not
set. They need neither Redis nor a worker. Changes are in the audit trail.

Examples:

    ` + term.ProgramName + ` suppressions list --domain example.com
    ` + term.ProgramName + ` suppressions show ada@example.com
    ` + term.ProgramName + ` suppressions release ada@example.com --reason "new mailbox"`
}

// open opens the suppressions. closing must be called. showAddresses asks for whole addresses.
func open(ctx context.Context, showAddresses bool) (cfg config.Config, s app.Suppressions, err error) {
	if cfg, err = app.LoadConfig(ctx); err != nil {
		return cfg, s, err
	}
	if showAddresses && len(cfg.Ledger.Keys) == 0 {
		return cfg, s, &app.UsageError{
			Err:  errors.New("--show-addresses needs LEDGER_KEY, which decrypts the addresses"),
			Hint: "set LEDGER_KEY to the key of the workers; without one the list has masked addresses only",
		}
	}
	s, err = app.OpenSuppressions(cfg)
	return cfg, s, err
}

// otherKey adds what to do to an error of the key for addresses.
func otherKey(err error) error {
	return &app.UsageError{Err: err, Hint: "set LEDGER_KEY to the key of the workers"}
}

// warnOfKey tells that addresses cannot be decrypted, and are not found.
func warnOfKey(ctx context.Context, t term.Terminal, s app.Suppressions) {
	if err := s.CheckKey(ctx); err != nil {
		term.Warn(t.Err, "%v", err)
	}
}

// explain adds what to do to the error of a database.
func explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*app.UsageError](err); ok {
		return err
	}
	for _, mistake := range []error{suppressions.ErrID, suppressions.ErrAfter, suppressions.ErrPassed} {
		if errors.Is(err, mistake) {
			return &app.UsageError{Err: mistake}
		}
	}
	if errors.Is(err, ledger.ErrNoKey) {
		return fmt.Errorf("no key for addresses is known: start a worker once, or set LEDGER_KEY to the key of the workers")
	}
	if _, ok := errors.AsType[*ledger.AccessError](err); ok || errors.Is(err, ledger.ErrNoHistory) {
		return err
	}
	if _, ok := errors.AsType[*suppressions.FileError](err); ok {
		return err
	}
	return fmt.Errorf("the suppressions cannot be read or changed: %w\ncheck LEDGER_DATABASE_URL, or DATABASE_URL and DB_* if it is not set", err)
}

// choice chooses suppressions.
type choice struct {
	Class  []suppressions.Class `help:"Classes, such as unknown,mailbox_full." placeholder:"CLASS"`
	Domain string               `help:"Domain of the address."`
	Scope  suppressions.Scope   `help:"Mails that it concerns: all or optional." placeholder:"SCOPE"`
	Source suppressions.Source  `help:"Where it comes from: reply, bounce, complaint, operator or import." placeholder:"SOURCE"`
	Since  term.Moment          `help:"Latest evidence then or later: a time ago such as 2h or 7d, a day, or a time." placeholder:"WHEN"`
}

func (c choice) filter() suppressions.Filter {
	return suppressions.Filter{Classes: c.Class, Domain: c.Domain, Scope: c.Scope, Source: c.Source, Since: c.Since.Time}
}

// given reports whether the choice narrows anything.
func (c choice) given() bool {
	return len(c.Class) > 0 || c.Domain != "" || c.Scope != "" || c.Source != "" || !c.Since.IsZero()
}

// hide removes the whole address, unless it is asked for.
func hide(s *suppressions.Suppression, show bool) {
	if !show {
		s.Address = ""
	}
}

// who returns the address as it may be shown.
func who(s suppressions.Suppression) string {
	switch {
	case s.Address != "":
		return term.Line(s.Address)
	case s.To != "":
		return term.Line(s.To)
	}
	return "(not known)" // imported by its id, or erased
}

// subject names an address or an id for the audit trail.
func subject(of string) string {
	if strings.Contains(of, "@") {
		return mail.MaskAddress(of)
	}
	return of
}

// checkReason reports a reason that is missing.
func checkReason(reason string) error {
	if strings.TrimSpace(reason) == "" {
		return errors.New("--reason: say why, such as --reason \"asked by phone\"")
	}
	return nil
}

// ending is a time in the future on the command line: a time from now on, or a day.
type ending struct{ time.Time }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *ending) UnmarshalText(text []byte) (err error) {
	e.Time, err = moment.End(string(text), time.Now())
	return err
}
