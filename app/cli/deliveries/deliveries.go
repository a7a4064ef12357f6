// Package deliveries has the commands for the history of mails.
package deliveries

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/ledger"
)

// Cmd is for the history of mails.
type Cmd struct {
	List  listDeliveriesCmd  `cmd:"" help:"List mails, the newest first."`
	Show  showDeliveryCmd    `cmd:"" help:"Show the life of one mail, from its first claim to its last event."`
	Stats deliveriesStatsCmd `cmd:"" help:"Count mails by kind, outcome and domain."`
	Erase eraseDeliveriesCmd `cmd:"" help:"Remove the data about a person, and keep the counts."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `The history has every mail of the last LEDGER_RETENTION days: each attempt, its
outcome, and the words of the mail server. It has no code, password or body.
The commands read it from LEDGER_DATABASE_URL, or from the service's database if
that is not set. They need neither Redis nor a worker.

Examples:

    ` + term.ProgramName + ` deliveries list --state deferred,unknown,dead
    ` + term.ProgramName + ` deliveries list --address ada@example.com --since 7d
    ` + term.ProgramName + ` deliveries show <task id>
    ` + term.ProgramName + ` deliveries stats --since 24h
    ` + term.ProgramName + ` was-it-sent ada@example.com`
}

// openDeliveries opens the history of mails. closing must be called. showAddresses asks for
// whole addresses.
func openDeliveries(ctx context.Context, showAddresses bool) (d monitor.Deliveries, closing func() error, err error) {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return nil, nil, err
	}
	if showAddresses && len(cfg.Ledger.Keys) == 0 {
		return nil, nil, &app.UsageError{
			Err:  errors.New("--show-addresses needs LEDGER_KEY, which decrypts the addresses"),
			Hint: "set LEDGER_KEY to the key of the workers; without one the history has masked addresses only",
		}
	}
	opened, err := app.OpenDeliveries(cfg)
	if err != nil {
		return nil, nil, err
	}
	return opened, opened.Close, nil
}

// unreadable adds what to do to the error of a history that cannot be read.
func unreadable(err error) error {
	if _, ok := errors.AsType[*ledger.AccessError](err); ok || err == nil || errors.Is(err, ledger.ErrNoHistory) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("the history of mails cannot be read: %w\ncheck LEDGER_DATABASE_URL, or DATABASE_URL and DB_* if it is not set", err)
}

type showDeliveryCmd struct {
	ID            string `arg:"" help:"Id of a task, as AsyncResult has it."`
	ShowAddresses bool   `help:"Show whole addresses. It needs LEDGER_KEY."`
	JSON          bool   `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (showDeliveryCmd) Help() string {
	return `Prints what happened to the mail of a task, with the time since the first claim,
the durations of the phases, and the words of the mail server. Producers may use
an id for several tasks; the newest mail comes first.

Examples:

    ` + term.ProgramName + ` deliveries show 8f14e45f-ceea-467f-a1de-d1f1e1d3b6c0
    ` + term.ProgramName + ` deliveries show --json <task id>`
}

// Run prints the mails of the task.
func (c showDeliveryCmd) Run(ctx context.Context, t term.Terminal) error {
	d, closing, err := openDeliveries(ctx, c.ShowAddresses)
	if err != nil {
		return err
	}
	defer closing()
	found, err := d.Show(ctx, strings.TrimSpace(c.ID))
	if err != nil {
		return unreadable(err)
	}
	for i := range found {
		hideAddress(&found[i].Mail, c.ShowAddresses)
	}
	if c.JSON {
		return term.PrintJSON(t.Out, append([]ledger.History{}, found...))
	}
	if len(found) == 0 {
		return fmt.Errorf("no mail of a task %q in the history; %s was-it-sent %s looks further", c.ID, term.ProgramName, c.ID)
	}
	for i, h := range found {
		if i > 0 {
			fmt.Fprintln(t.Out)
		}
		if _, err := fmt.Fprint(t.Out, Timeline(h, term.ParagraphWidth(t))); err != nil {
			return err
		}
	}
	return nil
}

// hideAddress removes the whole address, unless it is asked for.
func hideAddress(m *ledger.Mail, show bool) {
	if !show {
		m.Address = ""
	}
}

type eraseDeliveriesCmd struct {
	User    *int64 `help:"Id of the user." placeholder:"ID"`
	Address string `help:"Address of the mails."`
	Yes     bool   `help:"Do not ask before."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (eraseDeliveriesCmd) Help() string {
	return `Removes hash, mask, domain and encrypted form of the address, the id of the user
and the booking from all mails of a person. By user it includes the mails to all
addresses that the user got mail at, because a code has no user. The rows stay,
with their states, and so do all counts. It cannot be undone.

Examples:

    ` + term.ProgramName + ` deliveries erase --user 42
    ` + term.ProgramName + ` deliveries erase --address ada@example.com --yes`
}

// Validate checks the flags.
func (c eraseDeliveriesCmd) Validate() error {
	if c.User == nil && c.Address == "" {
		return errors.New("name the person: --user, --address, or both")
	}
	if c.Address != "" && !strings.Contains(c.Address, "@") {
		return errors.New("--address: it is not an address; write it whole, as ada@example.com")
	}
	return nil
}

// Run erases.
func (c eraseDeliveriesCmd) Run(ctx context.Context, t term.Terminal) error {
	d, closing, err := openDeliveries(ctx, false)
	if err != nil {
		return err
	}
	defer closing()
	who := "that address"
	if c.User != nil {
		who = fmt.Sprintf("user %d, with all addresses of that user,", *c.User)
	}
	if c.User != nil && c.Address != "" {
		who = fmt.Sprintf("user %d, with all addresses, and that address", *c.User)
	}
	if !c.Yes {
		if err := t.Confirm("Erase "+who+" from all mails for good?", "erase "+strings.TrimSuffix(who, ",")); err != nil {
			return err
		}
	}
	n, err := c.erase(ctx, d)
	if err != nil {
		if n > 0 {
			fmt.Fprintf(t.Err, "erased so far: %s\n", term.Count(n, "mail"))
		}
		return unreadable(err)
	}
	if c.JSON {
		return term.PrintJSON(t.Out, struct {
			Erased int64 `json:"erased"`
		}{n})
	}
	_, err = fmt.Fprintf(t.Out, "erased: %s\n", term.Count(n, "mail"))
	return err
}

// erase erases between two entries of the audit trail, which have the address masked.
func (c eraseDeliveriesCmd) erase(ctx context.Context, d monitor.Deliveries) (n int64, err error) {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return 0, err
	}
	a := app.Action{Name: "deliveries.erase"}
	if c.User != nil {
		a.Subjects = append(a.Subjects, fmt.Sprintf("user:%d", *c.User))
	}
	if c.Address != "" {
		a.Subjects = append(a.Subjects, "address:"+mail.MaskAddress(c.Address))
	}
	err = app.Audit(ctx, cfg, a, func(ctx context.Context) (map[string]any, error) {
		n, err = d.Erase(ctx, ledger.Erasure{UserID: c.User, Address: c.Address})
		return map[string]any{"mails": n}, err
	})
	return n, err
}

type deliveriesStatsCmd struct {
	Since term.Moment `default:"24h" help:"From when on: a time ago such as 2h or 7d, a day, or a time." placeholder:"WHEN"`
	Until term.Moment `default:"0s" help:"Until when; the default is now." placeholder:"WHEN"`
	Limit int         `default:"10" help:"Most domains to list."`
	JSON  bool        `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (deliveriesStatsCmd) Help() string {
	return `Counts events, by kind of mail and the state that they lead to, with percentiles
of the time since the first claim. A mail that is deferred twice and accepted
then counts as two deferred and one accepted. Failures are counted by class, and
the domains with most events by day.

Examples:

    ` + term.ProgramName + ` deliveries stats --since 1h
    ` + term.ProgramName + ` deliveries stats --since 2026-11-01 --until 2026-12-01`
}

// Validate checks the flags.
func (c deliveriesStatsCmd) Validate() error {
	if !c.Since.Before(c.Until.Time) {
		return errors.New("--since must be before --until")
	}
	if c.Limit < 1 || c.Limit > 1000 {
		return errors.New("--limit must be from 1 to 1000")
	}
	return nil
}

// stats are the counts of a period.
type stats struct {
	Since   time.Time            `json:"since"`
	Until   time.Time            `json:"until"`
	Counts  []ledger.Count       `json:"counts"`
	Classes []ledger.ClassCount  `json:"failures"`
	Domains []ledger.DomainCount `json:"domains"`
}

// Run counts.
func (c deliveriesStatsCmd) Run(ctx context.Context, t term.Terminal) error {
	d, closing, err := openDeliveries(ctx, false)
	if err != nil {
		return err
	}
	defer closing()
	s := stats{Since: c.Since.Time, Until: c.Until.Time}
	if s.Counts, err = d.Stats(ctx, s.Since, s.Until); err == nil {
		s.Classes, err = d.Classes(ctx, s.Since, s.Until)
	}
	if err == nil {
		s.Domains, err = d.Domains(ctx, s.Since, s.Until, c.Limit)
	}
	if err != nil {
		return unreadable(err)
	}
	if c.JSON {
		s.Counts, s.Classes, s.Domains = append([]ledger.Count{}, s.Counts...), append([]ledger.ClassCount{}, s.Classes...), append([]ledger.DomainCount{}, s.Domains...)
		return term.PrintJSON(t.Out, s)
	}
	_, err = fmt.Fprint(t.Out, s.text())
	return err
}
