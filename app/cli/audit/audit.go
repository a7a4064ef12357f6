// Package audit has the commands that read the audit trail.
package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/store/ledger/audit"
)

// Cmd is for the audit trail.
type Cmd struct {
	Broker term.Broker `help:"Which broker of REDIS_URLS; needed if there are several and no database." placeholder:"NAME"`

	List   listCmd   `cmd:"" help:"List who did what, the newest first."`
	Verify verifyCmd `cmd:"" help:"Find changed, missing and reordered rows."`
	Export exportCmd `cmd:"" help:"Write all rows with their hashes, for another program."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `The audit trail has every action that changes something: commands, pages, and
the remote control that workers obeyed. It is in LEDGER_DATABASE_URL; without a
database, or while it is unavailable, in Redis. Each row has a hash over its
content and the hash of the row before. docs/audit.md tells what that proves.

Examples:

    ` + term.ProgramName + ` audit list --since 7d
    ` + term.ProgramName + ` audit list --action dead-letters --id <id>
    ` + term.ProgramName + ` audit verify
    ` + term.ProgramName + ` audit export --csv > trail.csv`
}

// open opens the audit trail. The caller must call Close.
func open(ctx context.Context) (*app.Trail, error) {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Ledger.Off { // each broker has a trail
		if cfg, err = app.OfBroker(ctx, cfg); err != nil {
			return nil, err
		}
	}
	return app.OpenTrail(cfg, slog.New(slog.DiscardHandler))
}

// unreadable adds what to do to the error of a trail that cannot be read.
func unreadable(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, audit.ErrNoTables) {
		return err
	}
	return fmt.Errorf("%w\ncheck LEDGER_DATABASE_URL, or DATABASE_URL and DB_* if it is not set, and REDIS_URL or REDIS_*", err)
}

// filter are the flags that select rows.
type filter struct {
	Since  term.Moment `help:"Then or later: a time ago such as 2h or 7d, a day, or a time." placeholder:"WHEN"`
	Until  term.Moment `help:"Before." placeholder:"WHEN"`
	Actor  string      `help:"Who: user@host, user, node:celery@host, or the login of a page."`
	Action string      `help:"An action such as dead-letters.retry, or its group such as dead-letters."`
	ID     string      `name:"id" help:"An id that it was done to."`
}

// Validate checks the flags.
func (f filter) Validate() error {
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until.Time) {
		return errors.New("--since must be before --until")
	}
	return nil
}

func (f filter) of() audit.Filter {
	return audit.Filter{Since: f.Since.Time, Until: f.Until.Time, Actor: f.Actor, Action: f.Action, ID: f.ID}
}

type listCmd struct {
	filter `embed:""`
	Limit  int   `default:"50" help:"Most rows to list."`
	Before int64 `help:"Go on before this number, the lowest of another list." placeholder:"NUMBER"`
	JSON   bool  `name:"json" help:"Print a JSON array of rows."`
}

// Help is the long help of the command.
func (listCmd) Help() string {
	return `A command has two rows: one before it begins, and one with its outcome. They are
one line here; with --json they are two objects. Rows without a number wait in
Redis for the database. Times are in the zone of this machine.

Examples:

    ` + term.ProgramName + ` audit list --since 24h
    ` + term.ProgramName + ` audit list --actor ada --action suppressions.release
    ` + term.ProgramName + ` audit list --id <id> --json`
}

// Validate checks the flags.
func (c listCmd) Validate() error {
	const most = 1000
	if c.Limit < 1 || c.Limit > most {
		return fmt.Errorf("--limit must be from 1 to %d", most)
	}
	return c.filter.Validate()
}

// Run prints the list.
func (c listCmd) Run(ctx context.Context, t term.Terminal) error {
	trail, err := open(ctx)
	if err != nil {
		return err
	}
	defer trail.Close()
	f := c.of()
	f.Limit, f.Before = c.Limit, c.Before
	found, err := trail.List(ctx, f)
	if err != nil {
		return unreadable(err)
	}
	if c.JSON {
		return term.PrintJSON(t.Out, append([]audit.Row{}, found.Rows...))
	}
	if _, err := fmt.Fprint(t.Out, table(found.Actions(), term.Columns(t.Out))); err != nil {
		return err
	}
	if n := len(found.Rows); n == c.Limit {
		if last := found.Rows[n-1]; n > found.Waiting {
			fmt.Fprintf(t.Err, "there may be more; go on with --before %d\n", last.Number)
		}
	}
	return nil
}

// table returns actions for people, in lines of up to most columns; 0 is no limit.
func table(all []audit.Action, most int) string {
	if len(all) == 0 {
		return "No row of the audit trail meets the conditions.\n"
	}
	narrow := most > 0 && most < term.WideTerminal
	rows := [][]string{{"NUMBER", "TIME", "ACTION", "OUTCOME"}}
	if !narrow {
		rows[0] = append(rows[0], "ACTOR", "IDS")
	}
	for _, a := range all {
		row := []string{number(a), term.Clock(a.At), term.Line(a.Action), term.Line(a.Outcome)}
		if !narrow {
			row = append(row, term.Line(a.Actor), ids(a.IDs))
		}
		rows = append(rows, row)
	}
	lines := strings.SplitAfter(term.Align(rows), "\n")
	var b strings.Builder
	for i, text := range lines {
		if text = strings.TrimRight(text, " \n"); text == "" {
			continue
		}
		if most > 0 {
			text = term.Cut(text, most)
		}
		b.WriteString(text + "\n")
		if narrow && i > 0 {
			second := strings.TrimRight(term.Line(all[i-1].Actor)+"  "+ids(all[i-1].IDs), " ")
			b.WriteString("  " + term.Cut(second, max(most-2, 1)) + "\n")
		}
	}
	return b.String()
}

// number returns the number of a row, "" while it waits for one.
func number(a audit.Action) string {
	if a.Waiting {
		return ""
	}
	return fmt.Sprint(a.Number)
}

// ids writes the first ids and the number of the others.
func ids(all []string) string {
	const shown = 3
	text := term.Line(strings.Join(all[:min(len(all), shown)], " "))
	if more := len(all) - shown; more > 0 {
		text = fmt.Sprintf("%s and %d more", text, more)
	}
	return text
}

type verifyCmd struct {
	Head []string `help:"End of the trail that was noted earlier, number:hash, as the log of a worker and this command print it. Several are possible." placeholder:"HEAD"`
	JSON bool     `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (verifyCmd) Help() string {
	return `Reads the whole trail, and names rows that were changed, removed, reordered or
written anew. Rows missing at the end are found by the record of the end in the
database, by the notes of Redis, and by --head. The exit code is 1 if anything
is wrong. Without AUDIT_KEY, a person who may write to the database and to Redis
can make all hashes anew: keep the last line of the output elsewhere.

Examples:

    ` + term.ProgramName + ` audit verify
    ` + term.ProgramName + ` audit verify --head 4711:9f2c... --json`
}

// Validate checks the flags.
func (c verifyCmd) Validate() error {
	for _, head := range c.Head {
		if h, err := audit.ParseHead(head); err != nil {
			return fmt.Errorf("--head: %w", err)
		} else if h == (audit.Head{}) {
			return errors.New("--head is empty: write number:hash")
		}
	}
	return nil
}

// Run checks.
func (c verifyCmd) Run(ctx context.Context, t term.Terminal) error {
	trail, err := open(ctx)
	if err != nil {
		return err
	}
	defer trail.Close()
	report, err := verify(ctx, t, trail, c.Head)
	if err != nil {
		return unreadable(err)
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, report)
	} else {
		_, err = fmt.Fprint(t.Out, text(report, term.ParagraphWidth(t)))
	}
	if err == nil && len(report.Faults) > 0 {
		return term.ErrSilent
	}
	return err
}

// verify checks the trail and shows how far it is.
func verify(ctx context.Context, t term.Terminal, trail *app.Trail, heads []string) (*audit.Report, error) {
	newest, err := trail.List(ctx, audit.Filter{Limit: 1})
	if err != nil {
		return nil, err
	}
	bar := &term.Progress{Out: t.Err, Doing: "checking rows"}
	for _, row := range newest.Rows {
		bar.Total = max(bar.Total, int(row.Number))
	}
	if bar.Total == 0 { // all rows are in Redis, which has few
		return trail.Verify(ctx, heads...)
	}
	bar.Start()
	defer bar.Stop()
	checked := int64(0)
	return trail.VerifySlices(ctx, func(rows int64) error {
		bar.Add(int(rows-checked), 0)
		checked = rows
		return nil
	}, heads...)
}

// text returns a report for people.
func text(r *audit.Report, width int) string {
	var b strings.Builder
	say := func(format string, args ...any) {
		b.WriteString(term.Fold(fmt.Sprintf(format, args...), width, "  ") + "\n")
	}
	for _, f := range r.Faults {
		say("%s: %s", f.Kind, term.Line(f.Text))
	}
	if r.More > 0 {
		say("and %s more", term.Count(int64(r.More), "fault"))
	}
	for _, remark := range r.Remarks {
		say("remark: %s", term.Line(remark))
	}
	verdict := r.Verdict()
	say("%s: %s, %d of them with a key; %d in Redis", verdict, term.Count(r.Rows, "row"), r.Keyed, r.Waiting)
	if !r.First.IsZero() {
		say("from %s to %s", term.Clock(r.First), term.Clock(r.Last))
	}
	if r.Head != "" {
		b.WriteString("head " + r.Head + "\n") // never folded: people copy it
	}
	return b.String()
}

type exportCmd struct {
	filter `embed:""`
	CSV    bool `name:"csv" help:"Write CSV with a header. The default is JSON lines."`
}

// Help is the long help of the command.
func (exportCmd) Help() string {
	return `Writes rows in their order, each with its hash and that of the row before.
docs/audit.md explains how another program checks them. For a check the export
must have all rows, so give no filter.

Examples:

    ` + term.ProgramName + ` audit export > trail.jsonl
    ` + term.ProgramName + ` audit export --csv --since 2026-11-01 > november.csv`
}

// Run writes the rows.
func (c exportCmd) Run(ctx context.Context, t term.Terminal) error {
	trail, err := open(ctx)
	if err != nil {
		return err
	}
	defer trail.Close()
	w := bufio.NewWriter(t.Out)
	write := audit.JSONLines(w)
	if c.CSV {
		write = audit.CSV(w)
	}
	bar := &term.Progress{Out: t.Err, Doing: "exporting rows"}
	if !term.IsTerminal(t.Out) {
		bar.Start()
		defer bar.Stop()
		inner := write
		write = func(r audit.Row) error {
			bar.Add(1, 0)
			return inner(r)
		}
	}
	if err := trail.Each(ctx, c.of(), write); err != nil {
		_ = w.Flush()
		return unreadable(err)
	}
	return w.Flush()
}
