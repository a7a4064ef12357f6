package suppressions

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/store/ledger/suppressions"
)

type listCmd struct {
	choice
	State         string `default:"active" enum:"active,expired,released,any" help:"active, expired, released or any."`
	Limit         int    `default:"50" help:"Most to list."`
	After         string `help:"Go on after the end of another list, which names the value." placeholder:"PLACE"`
	ShowAddresses bool   `help:"Show whole addresses. It needs LEDGER_KEY."`
	JSON          bool   `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (listCmd) Help() string {
	return `Lists the suppressions that meet all conditions, the latest evidence first. On a
narrow terminal each has two lines. The beginning of an id names a suppression
in the other commands.

Classes: ` + classes() + `.

Examples:

    ` + term.ProgramName + ` suppressions list --class bad_address --since 1d
    ` + term.ProgramName + ` suppressions list --domain example.com --state any
    ` + term.ProgramName + ` suppressions list --json`
}

func classes() string {
	var names []string
	for _, c := range suppressions.Classes() {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}

// Validate checks the flags.
func (c listCmd) Validate() error {
	const most = 1000
	if c.Limit < 1 || c.Limit > most {
		return fmt.Errorf("--limit must be from 1 to %d", most)
	}
	return nil
}

// Run prints the list.
func (c listCmd) Run(ctx context.Context, t term.Terminal) error {
	_, s, err := open(ctx, c.ShowAddresses)
	if err != nil {
		return err
	}
	defer s.Close()
	f := c.filter()
	f.Limit, f.After = c.Limit, c.After
	if c.State != "any" {
		f.State = suppressions.State(c.State)
	}
	page, err := s.List(ctx, f)
	if err != nil {
		return explain(err)
	}
	for i := range page.Suppressions {
		hide(&page.Suppressions[i], c.ShowAddresses)
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, append([]suppressions.Suppression{}, page.Suppressions...))
	} else {
		_, err = fmt.Fprint(t.Out, table(page.Suppressions, term.Columns(t.Out)))
	}
	if c.ShowAddresses {
		warnOfKey(ctx, t, s)
	}
	if page.Next != "" {
		fmt.Fprintf(t.Err, "there are more; go on with --after %s\n", page.Next)
	}
	return err
}

// table returns suppressions for people, in lines of up to most columns; 0 is no limit.
func table(all []suppressions.Suppression, most int) string {
	if len(all) == 0 {
		return "No suppression meets the conditions.\n"
	}
	narrow := most > 0 && most < term.WideTerminal
	rows := [][]string{{"ID", "CLASS", "HITS", "LAST", "ENDS", "ADDRESS"}}
	if !narrow {
		rows[0] = append(rows[0], "WHY")
	}
	for _, s := range all {
		row := []string{short(s.ID), class(s), hitCell(s.Hits), term.Age(s.Last), ends(s, time.Now()), term.Cut(who(s), mostAddress)}
		if !narrow {
			row = append(row, why(s))
		}
		rows = append(rows, row)
	}
	lines := strings.Split(strings.TrimSuffix(term.Align(rows), "\n"), "\n")
	var b strings.Builder
	for i, text := range lines {
		if most > 0 {
			text = term.Cut(text, most)
		}
		b.WriteString(text + "\n")
		if narrow && i > 0 {
			b.WriteString("  " + term.Cut(why(all[i-1]), max(most-2, 1)) + "\n")
		}
	}
	return b.String()
}

// mostAddress is the most columns of an address in a list.
const mostAddress = 40

// hitCell writes a number of pieces of evidence; a person needs none.
func hitCell(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// short returns the part of an id that the list shows.
func short(id string) string {
	const digits = 10 // two of a million addresses share it with a chance of one half
	return id[:min(len(id), digits)]
}

func class(s suppressions.Suppression) string {
	usual := suppressions.AllMails
	if s.Class == suppressions.Complaint {
		usual = suppressions.OptionalMails
	}
	if s.Scope != usual {
		return string(s.Class) + ", " + string(s.Scope)
	}
	return string(s.Class)
}

// ends tells when a suppression ends, or has ended.
func ends(s suppressions.Suppression, now time.Time) string {
	switch {
	case s.Ended != nil:
		return "released"
	case s.Expires == nil:
		return "never"
	case !s.Expires.After(now):
		return "expired"
	}
	switch d := s.Expires.Sub(now); {
	case d < time.Hour:
		return fmt.Sprintf("in %dm", int(d.Minutes())+1)
	case d < 48*time.Hour:
		return fmt.Sprintf("in %dh", int(d.Hours()))
	case d < 1000*24*time.Hour:
		return fmt.Sprintf("in %dd", int(d.Hours()/24))
	}
	return s.Expires.Local().Format(time.DateOnly)
}

// why tells the reason in one line.
func why(s suppressions.Suppression) string {
	var parts []string
	if s.Note != "" {
		parts = append(parts, term.Line(s.Note))
	}
	if said := said(s.Code, s.Enhanced, s.Diagnostic); said != "" {
		parts = append(parts, said)
	}
	text := strings.Join(parts, "; ")
	if text == "" {
		text = "no words are known"
	}
	return string(s.Source) + ": " + text
}

// said writes a reply of a mail server, "" for none.
func said(code int, enhanced, words string) string {
	var parts []string
	if code != 0 {
		parts = append(parts, strconv.Itoa(code))
	}
	if enhanced != "" {
		parts = append(parts, term.Line(enhanced))
	}
	if words != "" {
		parts = append(parts, "“"+term.Line(words)+"”")
	}
	return strings.Join(parts, " ")
}

type showCmd struct {
	Of            string `arg:"" name:"address" help:"Address, or the beginning of its id in the list."`
	ShowAddresses bool   `help:"Show whole addresses. It needs LEDGER_KEY."`
	JSON          bool   `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (showCmd) Help() string {
	return `Prints the suppressions of an address, ended ones too, with the
evidence: which mail, when, and the words of the server. The exit code is 1 if
there are none.

Examples:

    ` + term.ProgramName + ` suppressions show ada@example.com
    ` + term.ProgramName + ` suppressions show 31b096f349 --json`
}

// Run prints the suppressions.
func (c showCmd) Run(ctx context.Context, t term.Terminal) error {
	_, s, err := open(ctx, c.ShowAddresses)
	if err != nil {
		return err
	}
	defer s.Close()
	details, err := s.Show(ctx, c.Of)
	if err != nil {
		return explain(err)
	}
	for i := range details {
		hide(&details[i].Suppression, c.ShowAddresses)
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, append([]suppressions.Detail{}, details...))
	} else {
		for i, d := range details {
			if i > 0 {
				fmt.Fprintln(t.Out)
			}
			if _, err = fmt.Fprint(t.Out, detail(d, term.ParagraphWidth(t))); err != nil {
				break
			}
		}
	}
	if err == nil && len(details) == 0 {
		if err := s.CheckKey(ctx); err != nil && strings.Contains(c.Of, "@") {
			return otherKey(err)
		}
		if c.JSON {
			return term.ErrSilent
		}
		return fmt.Errorf("%s is not suppressed, and was not lately", term.Line(c.Of))
	}
	return err
}

// detail returns a suppression for people, in lines of up to width columns.
func detail(d suppressions.Detail, width int) string {
	var b strings.Builder
	fact := func(name, text string) {
		if text != "" {
			const indent = "           "
			b.WriteString(term.Fold(fmt.Sprintf("%-*s%s", len(indent), name, text), width, indent) + "\n")
		}
	}
	fact("Address", who(d.Suppression))
	fact("Id", d.ID)
	fact("State", state(d.Suppression))
	fact("Effect", effect(d.Suppression))
	fact("Class", string(d.Class)+", "+sourceWords(d.Source))
	fact("Evidence", hits(d.Suppression))
	fact("Last reply", said(d.Code, d.Enhanced, d.Diagnostic))
	if d.CreatedBy != "" {
		fact("Added by", term.Line(d.CreatedBy))
	}
	if d.Note != "" {
		fact("Reason", term.Line(d.Note))
	}
	if len(d.Evidence) == 0 {
		return b.String()
	}
	b.WriteByte('\n')
	for _, i := range d.Evidence {
		const indent = "                            "
		text := fmt.Sprintf("%s  %s, %s", term.Clock(i.At), i.Class, i.Source)
		if i.Kind != "" {
			text += ", " + term.Line(i.Kind) + " mail"
		}
		b.WriteString(term.Fold(text, width, indent) + "\n")
		if said := said(i.Code, i.Enhanced, i.Diagnostic); said != "" {
			b.WriteString(term.Fold(indent+said, width, indent) + "\n")
		}
		if i.TaskID != "" {
			b.WriteString(indent + "task " + term.Line(i.TaskID) + "\n")
		}
	}
	return b.String()
}

func state(s suppressions.Suppression) string {
	text := "active since " + term.Clock(s.First)
	switch {
	case s.Ended != nil:
		text = "released at " + term.Clock(*s.Ended) + " by " + term.Line(s.EndedBy) + ": " + term.Line(s.EndedNote)
	case s.State == suppressions.Expired:
		text = "ended by itself at " + term.Clock(*s.Expires)
	case s.Expires != nil:
		text += ", until " + term.Clock(*s.Expires)
	default:
		text += ", until it is released"
	}
	return text
}

// effect tells which mails are withheld.
func effect(s suppressions.Suppression) string {
	switch {
	case s.State != suppressions.Active:
		return ""
	case s.Scope == suppressions.OptionalMails:
		return "optional mails are not sent, others are"
	case s.Class.IsSoft() && s.Source != suppressions.FromOperator && s.Source != suppressions.FromImport:
		return fmt.Sprintf("mails are not sent; codes are, from %s after the last evidence on", term.Spell(suppressions.CodeAfter))
	}
	return "no mail is sent"
}

func sourceWords(s suppressions.Source) string {
	switch s {
	case suppressions.FromReply:
		return "by replies of mail servers"
	case suppressions.FromBounce:
		return "by bounces"
	case suppressions.FromComplaint:
		return "by a report of the recipient"
	case suppressions.FromOperator:
		return "by a person"
	case suppressions.FromImport:
		return "by an import"
	}
	return "by " + term.Line(string(s))
}

func hits(s suppressions.Suppression) string {
	if s.Hits == 0 {
		return ""
	}
	text := term.Count(int64(s.Hits), "time")
	if s.Hits > 1 {
		text += ", from " + term.Clock(s.First)
		return text + " to " + term.Clock(s.Last)
	}
	return text + ", at " + term.Clock(s.Last)
}
