package bounces

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/store/ledger"
)

type listCmd struct {
	Kind      []string    `help:"Kinds: failed, delayed, delivered, complaint, autoreply, unrelated." placeholder:"KIND" enum:"failed,delayed,delivered,complaint,autoreply,unrelated"`
	Class     []string    `help:"Classes of failures, such as bad_address,mailbox_full." placeholder:"CLASS"`
	Unmatched bool        `help:"Only bounces that name no known mail."`
	Address   string      `help:"Address of the recipient."`
	Since     term.Moment `help:"Received then or later: a time ago such as 2h or 7d, a day, or a time." placeholder:"WHEN"`
	Until     term.Moment `help:"Received before." placeholder:"WHEN"`
	Limit     int         `default:"50" help:"Most to list."`
	After     string      `help:"Go on after the end of another list, which names the value." placeholder:"PLACE"`
	JSON      bool        `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (listCmd) Help() string {
	return `Lists the bounces that meet all conditions, the newest first. MATCH tells by what a
bounce names its mail: its tag, the envelope id, or the Message-ID. Nothing follows
from an address alone, or from a forged tag. Receipts are listed by
--kind delivered.

Examples:

    ` + term.ProgramName + ` bounces list --since 1h
    ` + term.ProgramName + ` bounces list --kind complaint --json
    ` + term.ProgramName + ` bounces list --unmatched`
}

// Validate checks the flags.
func (c listCmd) Validate() error {
	const most = 1000
	switch {
	case c.Limit < 1 || c.Limit > most:
		return fmt.Errorf("--limit must be from 1 to %d", most)
	case !c.Since.IsZero() && !c.Until.IsZero() && !c.Since.Before(c.Until.Time):
		return errors.New("--since must be before --until")
	case c.Address != "" && !strings.Contains(c.Address, "@"):
		return errors.New("--address: it is not an address; write it whole, as ada@example.com")
	}
	return nil
}

// Run prints the list.
func (c listCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	f := ledger.BounceFilter{
		Classes: c.Class, Unmatched: c.Unmatched, Address: c.Address, Since: c.Since.Time, Until: c.Until.Time, Limit: c.Limit, After: c.After,
	}
	for _, kind := range c.Kind {
		f.Kinds = append(f.Kinds, ledger.BounceKind(kind))
	}
	if len(f.Kinds) == 0 {
		f.Kinds = []ledger.BounceKind{ledger.BounceFailed, ledger.BounceDelayed, ledger.BounceComplaint, ledger.BounceAutoReply, ledger.BounceUnrelated}
	}
	page, err := b.List(ctx, f)
	if err != nil {
		return unreadable(err)
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, append([]ledger.Bounce{}, page.Bounces...))
	} else {
		_, err = fmt.Fprint(t.Out, table(page.Bounces, term.Columns(t.Out)))
	}
	if c.Address != "" {
		if err := b.CheckKey(ctx); err != nil {
			term.Warn(t.Err, "%v", err)
		}
	}
	if page.Next != "" {
		fmt.Fprintf(t.Err, "there are more; go on with --after %s\n", page.Next)
	}
	return err
}

const (
	shortID = 8   // digits of an id on a terminal
	oneLine = 160 // width from which the words of the server have room in the line of a bounce
)

// table returns bounces for people, in lines of up to most columns; 0 is no limit.
func table(all []ledger.Bounce, most int) string {
	if len(all) == 0 {
		return "No bounce meets the conditions.\n"
	}
	narrow := most > 0 && most < oneLine
	rows := [][]string{{"ID", "RECEIVED", "KIND", "MATCH", "TO"}}
	if !narrow {
		rows[0] = append(rows[0], "CLASS", "TASK ID", "WORDS")
	}
	for _, b := range all {
		id := b.ID
		if most > 0 {
			id = id[:min(shortID, len(id))]
		}
		row := []string{id, term.Clock(b.ReceivedAt), string(b.Kind), cmp.Or(string(b.MatchedBy), "none"), term.Line(b.Recipient())}
		if !narrow {
			row = append(row, term.Line(b.Class), term.Line(b.TaskID), said(b))
		}
		rows = append(rows, row)
	}
	var text strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(term.Align(rows), "\n"), "\n") {
		if most > 0 {
			line = term.Cut(line, most)
		}
		text.WriteString(line + "\n")
		if narrow && i > 0 {
			if second := secondLine(all[i-1]); second != "" {
				text.WriteString("  " + term.Cut(second, max(most-2, 1)) + "\n")
			}
		}
	}
	return text.String()
}

// secondLine returns what does not fit into a line of a narrow terminal.
func secondLine(b ledger.Bounce) string {
	var parts []string
	for _, part := range []string{b.Class, b.TaskID, b.Reply()} {
		if part != "" {
			parts = append(parts, term.Line(part))
		}
	}
	return strings.Join(parts, "  ")
}

// said is reply for a table.
func said(b ledger.Bounce) string { return term.Line(b.Reply()) }

type showCmd struct {
	ID   string `arg:"" help:"Id of the bounce, or its beginning."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (showCmd) Help() string {
	return `Shows what a bounce says, by what it names its mail, and that mail. The raw message
is not kept.

Examples:

    ` + term.ProgramName + ` bounces show 3f2a9c01
    ` + term.ProgramName + ` bounces show --json <id>`
}

// Run prints the bounce.
func (c showCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	found, err := b.Show(ctx, c.ID)
	if err != nil {
		return unreadable(err)
	}
	switch len(found) {
	case 0:
		return fmt.Errorf("no bounce %q; %s bounces list shows them", c.ID, term.ProgramName)
	case 1:
	default:
		return &ambiguousError{c.ID}
	}
	if c.JSON {
		return term.PrintJSON(t.Out, found[0])
	}
	_, err = fmt.Fprint(t.Out, describe(found[0], term.ParagraphWidth(t)))
	return err
}

type ambiguousError struct{ prefix string }

func (e *ambiguousError) Error() string {
	return fmt.Sprintf("several bounces begin with %q; write more of the id", e.prefix)
}

// describe returns a bounce for people, in lines of up to width columns.
func describe(b ledger.Bounce, width int) string {
	var text strings.Builder
	fact := func(name, value string) {
		if value != "" {
			const indent = "           "
			text.WriteString(term.Fold(fmt.Sprintf("%-*s%s", len(indent), name, value), width, indent) + "\n")
		}
	}
	fact("Bounce", b.ID)
	kind := string(b.Kind)
	if b.Class != "" && b.Class != kind {
		kind += ", " + term.Line(b.Class)
	}
	fact("Kind", kind)
	fact("Received", term.Clock(b.ReceivedAt)+" by "+term.Line(b.Source)+fmt.Sprintf(", %d bytes", b.Size))
	fact("Matched", b.Matched())
	if b.Mail != "" {
		fact("Mail", term.Line(b.MailKind)+", task "+term.Line(b.TaskID))
		if b.Kind == ledger.BounceFailed || b.Kind == ledger.BounceComplaint {
			proof := "yes: it may suppress the address"
			if !b.Proven {
				proof = "no: it suppresses no address"
			}
			fact("Proven", proof)
		}
	}
	if b.Domain != "" || b.To != "" {
		fact("To", term.Line(b.Recipient()))
	}
	if b.Forwarded {
		fact("Forwarded", "the report is about another address, to which mail is forwarded")
	}
	fact("Said", maybe(b.Reply()))
	fact("By", maybe(b.RemoteMTA))
	fact("Reported", maybe(b.Reporting))
	fact("Reference", maybe(b.Reference))
	return text.String()
}

// maybe returns a text on one line, and nothing for none.
func maybe(text string) string {
	if text == "" {
		return ""
	}
	return term.Line(text)
}
