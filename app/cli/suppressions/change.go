package suppressions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/store/ledger/suppressions"
)

type addCmd struct {
	Address string             `arg:"" help:"The whole address."`
	Reason  string             `help:"Why; it is kept with the suppression. Required." placeholder:"TEXT"`
	Scope   suppressions.Scope `default:"all" help:"Mails that it concerns: all or optional." placeholder:"SCOPE"`
	Until   ending             `help:"End: a time from now on such as 30d, a day, or a time. The default is never." placeholder:"WHEN"`
	JSON    bool               `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (addCmd) Help() string {
	return `Mails to the address are not sent from now on, codes included. A suppression that
is in force is replaced.

Examples:

    ` + term.ProgramName + ` suppressions add ada@example.com --reason "asked by phone"
    ` + term.ProgramName + ` suppressions add ada@example.com --until 9d --reason away`
}

// Validate checks the flags.
func (c addCmd) Validate() error { return checkReason(c.Reason) }

// Run adds the suppression.
func (c addCmd) Run(ctx context.Context, t term.Terminal) error {
	cfg, s, err := open(ctx, false)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := suppressions.CheckAddress(c.Address); err != nil {
		return &app.UsageError{Err: err}
	}
	if err := s.CheckKey(ctx); err != nil {
		return otherKey(err)
	}
	var added suppressions.Suppression
	var replaced bool
	action := app.Action{Name: "suppressions.add", Subjects: []string{subject(c.Address)}, Details: map[string]any{"reason": c.Reason, "scope": c.Scope}}
	err = app.Audit(ctx, cfg, action, func(ctx context.Context) (map[string]any, error) {
		added, replaced, err = s.Add(ctx, suppressions.Addition{Address: c.Address, Scope: c.Scope, Expires: c.Until.Time, By: app.Operator(), Note: c.Reason})
		return map[string]any{"id": added.ID, "replaced": replaced}, err
	})
	if err != nil {
		return explain(err)
	}
	hide(&added, false)
	if c.JSON {
		return term.PrintJSON(t.Out, []suppressions.Suppression{added})
	}
	verb := "suppressed"
	if replaced {
		verb = "suppressed, in place of an earlier suppression"
	}
	_, err = fmt.Fprintf(t.Out, "%s: %s, id %s\n", verb, who(added), short(added.ID))
	return err
}

type releaseCmd struct {
	Of []string `arg:"" optional:"" name:"address" help:"Addresses, or beginnings of ids of the list."`
	choice
	Reason string `help:"Why; it is kept with the suppression. Required." placeholder:"TEXT"`
	DryRun bool   `help:"Count only, and release nothing."`
	Yes    bool   `help:"Do not ask before releasing by class, domain or another condition."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (releaseCmd) Help() string {
	return `Mails to the addresses are sent again. Evidence up to now does not count any
more: an address is suppressed again only by new evidence. With conditions, such
as a class or a domain, all suppressions in force that meet them are released,
after a question. Their number is printed first.

Examples:

    ` + term.ProgramName + ` suppressions release ada@example.com --reason "new mailbox"
    ` + term.ProgramName + ` suppressions release --domain example.com --dry-run
    ` + term.ProgramName + ` suppressions release --since 1d --reason "relay was wrong"`
}

// Validate checks the flags.
func (c releaseCmd) Validate() error {
	if c.given() == (len(c.Of) > 0) {
		return errors.New("name addresses or ids, or conditions such as --class or --domain, and not both")
	}
	if c.DryRun {
		return nil
	}
	return checkReason(c.Reason)
}

// released is what the command prints.
type released struct {
	DryRun   bool                         `json:"dry_run"`
	Found    int64                        `json:"found"`
	ByClass  map[suppressions.Class]int64 `json:"by_class"`
	Released int64                        `json:"released"`
}

// Run releases.
func (c releaseCmd) Run(ctx context.Context, t term.Terminal) error {
	cfg, s, err := open(ctx, false)
	if err != nil {
		return err
	}
	defer s.Close()
	filters, err := c.filters(ctx, s)
	if err != nil {
		return explain(err)
	}
	result := released{DryRun: c.DryRun, ByClass: map[suppressions.Class]int64{}}
	for _, f := range filters {
		n, byClass, err := s.Count(ctx, f)
		if err != nil {
			return explain(err)
		}
		result.Found += n
		for class, n := range byClass {
			result.ByClass[class] += n
		}
	}
	if c.given() && !c.DryRun && !c.Yes && result.Found > 0 {
		doing := "release " + term.Count(result.Found, "suppression")
		if err := t.Confirm(result.found()+"Release them?", doing); err != nil {
			return err
		}
	}
	if !c.DryRun && result.Found > 0 {
		details := c.filter().Details()
		details["reason"] = c.Reason
		var subjects []string
		for _, of := range c.Of {
			subjects = append(subjects, subject(of))
		}
		err = app.Audit(ctx, cfg, app.Action{Name: "suppressions.release", Subjects: subjects, Details: details}, func(ctx context.Context) (map[string]any, error) {
			for _, f := range filters {
				n, err := s.Release(ctx, f, app.Operator(), c.Reason)
				result.Released += n
				if err != nil {
					return map[string]any{"released": result.Released}, err
				}
			}
			return map[string]any{"released": result.Released}, nil
		})
		if err != nil {
			return explain(err)
		}
	}
	return c.print(t, result)
}

func (c releaseCmd) print(t term.Terminal, r released) error {
	if c.JSON {
		return term.PrintJSON(t.Out, r)
	}
	if c.DryRun {
		text := r.found()
		if r.Found > 0 {
			text += "Nothing was released.\n"
		}
		_, err := fmt.Fprint(t.Out, text)
		return err
	}
	_, err := fmt.Fprintf(t.Out, "released: %s\n", term.Count(r.Released, "suppression"))
	return err
}

// found returns the number of suppressions, by class.
func (r released) found() string {
	if r.Found == 0 {
		return "No suppression in force meets the conditions.\n"
	}
	var parts []string
	for _, class := range slices.Sorted(maps.Keys(r.ByClass)) {
		parts = append(parts, fmt.Sprintf("%s %d", class, r.ByClass[class]))
	}
	return fmt.Sprintf("In force: %s (%s)\n", term.Count(r.Found, "suppression"), strings.Join(parts, ", "))
}

// filters returns what is to be released: all that meets the conditions, or each address. An
// address that is not suppressed is an error, and so is an id of several addresses.
func (c releaseCmd) filters(ctx context.Context, s app.Suppressions) (filters []suppressions.Filter, err error) {
	if c.given() {
		f := c.filter()
		f.State = suppressions.Active
		return []suppressions.Filter{f}, nil
	}
	for _, of := range c.Of {
		f := suppressions.Filter{Of: of, State: suppressions.Active}
		page, err := s.List(ctx, f)
		if err != nil {
			return nil, err
		}
		if len(page.Suppressions) == 0 {
			if err := s.CheckKey(ctx); err != nil && strings.Contains(of, "@") {
				return nil, otherKey(err)
			}
			return nil, &app.UsageError{Err: fmt.Errorf("%s is not suppressed: nothing was released", term.Line(of))}
		}
		if !strings.Contains(of, "@") {
			for _, p := range page.Suppressions {
				if p.ID != page.Suppressions[0].ID {
					return nil, &app.UsageError{Err: fmt.Errorf("the id %s is that of several addresses: write more digits, nothing was released", term.Line(of))}
				}
			}
		}
		filters = append(filters, f)
	}
	return filters, nil
}

type importCmd struct {
	File   string `arg:"" optional:"" help:"CSV file; the default is standard input."`
	Reason string `help:"Why; it is kept with rows that have no reason. Required." placeholder:"TEXT"`
	DryRun bool   `help:"Check the file and count, and change nothing."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (importCmd) Help() string {
	return `The first line names the columns. address or id is required; to, domain, scope,
class, source, hits, first_at, last_at, expires_at, code, enhanced, diagnostic,
created_by and note may follow. A file with one address a line needs no names.
If a row is wrong, its line is named and nothing is imported.

Examples:

    ` + term.ProgramName + ` suppressions import old.csv --reason "old system"
    ` + term.ProgramName + ` suppressions import --dry-run < suppressions.csv`
}

// Validate checks the flags.
func (c importCmd) Validate() error {
	if c.DryRun {
		return nil
	}
	return checkReason(c.Reason)
}

// Run imports the file.
func (c importCmd) Run(ctx context.Context, t term.Terminal) error {
	var in io.Reader = t.In
	switch {
	case c.File != "" && c.File != "-":
		f, err := os.Open(c.File)
		if err != nil {
			return &app.UsageError{Err: err}
		}
		defer f.Close()
		in = f
	case t.Interactive():
		return &app.UsageError{Err: errors.New("name a file, or send it to the standard input")}
	}
	cfg, s, err := open(ctx, false)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.CheckKey(ctx); err != nil {
		return otherKey(err)
	}
	doing := "importing suppressions"
	if c.DryRun {
		doing = "comparing suppressions"
	}
	var n suppressions.Imported
	load := func(ctx context.Context) (map[string]any, error) {
		var err error
		bar := &term.Progress{Out: t.Err, Doing: doing}
		bar.Start()
		defer bar.Stop()
		n, err = s.Import(ctx, suppressions.Import{From: in, By: app.Operator(), Note: c.Reason, DryRun: c.DryRun, Progress: func(done, total int) {
			if total != bar.Total {
				bar.Next(total)
			}
			bar.Done(done)
		}})
		return map[string]any{"added": n.Added, "replaced": n.Replaced}, err
	}
	if c.DryRun {
		_, err = load(ctx)
	} else {
		err = app.Audit(ctx, cfg, app.Action{Name: "suppressions.import", Details: map[string]any{"reason": c.Reason}}, load)
	}
	if err != nil {
		return explain(err)
	}
	if c.JSON {
		return term.PrintJSON(t.Out, n)
	}
	done := "imported"
	if c.DryRun {
		done = "would be imported"
	}
	_, err = fmt.Fprintf(t.Out, "%s: %s of %s\n", done, term.Count(int64(n.Added+n.Replaced), "suppression"), term.Count(int64(n.Rows), "row"))
	for _, more := range []struct {
		n    int
		text string
	}{
		{n.Replaced, "replaced weaker ones"}, {n.Unchanged, "were in force already"}, {n.Repeated, "repeat an earlier row"}, {n.Ended, "have ended"},
	} {
		if err == nil && more.n > 0 {
			_, err = fmt.Fprintf(t.Out, "  %d %s\n", more.n, more.text)
		}
	}
	return err
}

type exportCmd struct{ choice }

// Help is the long help of the command.
func (exportCmd) Help() string {
	return `Writes the suppressions in force as CSV to the standard output. With LEDGER_KEY it
has the addresses that were stored encrypted. Without, or for others, it has ids
only, which the import of an installation with the same key accepts.

Examples:

    ` + term.ProgramName + ` suppressions export > suppressions.csv
    ` + term.ProgramName + ` suppressions export --class complaint > complaints.csv`
}

// Run exports.
func (c exportCmd) Run(ctx context.Context, t term.Terminal) error {
	cfg, s, err := open(ctx, false)
	if err != nil {
		return err
	}
	defer s.Close()
	n, err := export(ctx, t, s, c.filter())
	if err != nil {
		return explain(err)
	}
	if len(cfg.Ledger.Keys) > 0 { // without a key only ids are wanted
		warnOfKey(ctx, t, s)
	}
	_, err = fmt.Fprintf(t.Err, "exported: %s\n", term.Count(int64(n), "suppression"))
	return err
}

// export writes the suppressions, and shows how far it is unless they go to the terminal.
func export(ctx context.Context, t term.Terminal, s app.Suppressions, f suppressions.Filter) (int, error) {
	if term.IsTerminal(t.Out) {
		return s.Export(ctx, t.Out, f)
	}
	bar := &term.Progress{Out: t.Err, Doing: "exporting suppressions"}
	counted := f
	counted.State = suppressions.Active
	if total, _, err := s.Count(ctx, counted); err == nil {
		bar.Total = int(total)
	}
	bar.Start()
	defer bar.Stop()
	return s.Export(ctx, &lines{t.Out, bar}, f)
}

// lines tells a progress of the lines that are written.
type lines struct {
	out io.Writer
	bar *term.Progress
}

// Write implements [io.Writer].
func (l *lines) Write(p []byte) (int, error) {
	l.bar.Add(bytes.Count(p, []byte("\n")), 0)
	return l.out.Write(p)
}
