package deliveries

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/store/ledger"
)

type listDeliveriesCmd struct {
	State         []ledger.State `help:"States, such as accepted,deferred." placeholder:"STATE"`
	Kind          []string       `help:"Kinds of mails, such as otp,welcome." placeholder:"KIND"`
	Address       string         `help:"Address of the recipient."`
	User          *int64         `help:"Id of the user." placeholder:"ID"`
	Booking       string         `help:"Id of the booking or event." placeholder:"ID"`
	Domain        string         `help:"Domain of the recipient."`
	Since         term.Moment    `help:"Taken from the queue then or later: a time ago such as 2h or 7d, a day, or a time." placeholder:"WHEN"`
	Until         term.Moment    `help:"Taken from the queue before." placeholder:"WHEN"`
	Limit         int            `default:"50" help:"Most to list."`
	After         string         `help:"Go on after the end of another list, which names the value." placeholder:"PLACE"`
	ShowAddresses bool           `help:"Show whole addresses. It needs LEDGER_KEY."`
	JSON          bool           `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (listDeliveriesCmd) Help() string {
	var names []string
	for _, s := range ledger.States() {
		names = append(names, s.String())
	}
	return `Lists the mails that meet all conditions, the newest first. Times are in the zone
of this machine. On a narrow terminal each mail has two lines.

States: ` + term.Fold(strings.Join(names, ", ")+".", 70, "") + `

Examples:

    ` + term.ProgramName + ` deliveries list --since 1h
    ` + term.ProgramName + ` deliveries list --state deferred --domain gmail.com
    ` + term.ProgramName + ` deliveries list --user 42 --json`
}

// Validate checks the flags.
func (c listDeliveriesCmd) Validate() error {
	const most = 1000
	switch {
	case c.Limit < 1 || c.Limit > most:
		return fmt.Errorf("--limit must be from 1 to %d", most)
	case !c.Since.IsZero() && !c.Until.IsZero() && !c.Since.Before(c.Until.Time):
		return errors.New("--since must be before --until")
	case c.Address != "" && !strings.Contains(c.Address, "@"):
		return errors.New("--address: it is not an address; write it whole, as ada@example.com, or use --domain")
	}
	return nil
}

// Run prints the list.
func (c listDeliveriesCmd) Run(ctx context.Context, t term.Terminal) error {
	d, closing, err := openDeliveries(ctx, c.ShowAddresses)
	if err != nil {
		return err
	}
	defer closing()
	page, err := d.List(ctx, ledger.Filter{
		States: c.State, Kinds: c.Kind, Address: c.Address, UserID: c.User, Booking: c.Booking, Domain: c.Domain,
		Since: c.Since.Time, Until: c.Until.Time, Limit: c.Limit, After: c.After,
	})
	if err != nil {
		return unreadable(err)
	}
	for i := range page.Mails {
		hideAddress(&page.Mails[i], c.ShowAddresses)
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, append([]ledger.Mail{}, page.Mails...))
	} else {
		_, err = fmt.Fprint(t.Out, mailTable(page.Mails, term.Columns(t.Out)))
	}
	if k, ok := d.(interface{ CheckKey(context.Context) error }); ok && c.Address != "" {
		if err := k.CheckKey(ctx); err != nil {
			term.Warn(t.Err, "%v", err)
		}
	}
	if page.Next != "" {
		fmt.Fprintf(t.Err, "there are more; go on with --after %s\n", page.Next)
	}
	return err
}

// mailTable returns mails for people, in lines of up to most columns; 0 is no limit.
func mailTable(mails []ledger.Mail, most int) string {
	if len(mails) == 0 {
		return "No mail of the history meets the conditions.\n"
	}
	narrow := most > 0 && most < term.WideTerminal
	rows := [][]string{{"FIRST CLAIMED", "STATE", "KIND", "TO"}}
	if !narrow {
		rows[0] = append(rows[0], "TASK ID", "WHY")
	}
	for _, m := range mails {
		row := []string{term.Clock(m.FirstSeen), m.State.String(), term.Line(m.Kind), term.Line(verdict.Recipient(m))}
		if !narrow {
			row = append(row, term.Line(m.TaskID), verdict.Why(m))
		}
		rows = append(rows, row)
	}
	lines := strings.SplitAfter(term.Align(rows), "\n")
	var b strings.Builder
	for i, text := range lines {
		if text = strings.TrimSuffix(text, "\n"); text == "" {
			continue
		}
		if most > 0 {
			text = term.Cut(text, most)
		}
		b.WriteString(text + "\n")
		if narrow && i > 0 {
			second := term.Line(mails[i-1].TaskID)
			if reason := verdict.Why(mails[i-1]); reason != "" {
				second += "  " + reason
			}
			b.WriteString("  " + term.Cut(second, max(most-2, 1)) + "\n")
		}
	}
	return b.String()
}

// text writes the counts as tables.
func (s stats) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "From %s\nuntil %s\n\n", term.Clock(s.Since), term.Clock(s.Until))
	if len(s.Counts) == 0 {
		b.WriteString("No event of a mail in this time.\n")
		return b.String()
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tSTATE\tEVENTS\tHALF IN\t90 % IN\t99 % IN\tIN 10 s")
	for _, c := range s.Counts {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", term.Line(c.Kind), c.State, c.N, seconds(c.P50), seconds(c.P90), seconds(c.P99), share(c.Within, c.N))
	}
	_ = w.Flush()
	if len(s.Classes) > 0 {
		w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\nFAILURE\tKIND\tSTATE\tEVENTS")
		for _, c := range s.Classes {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", term.Line(c.Class), term.Line(c.Kind), c.State, c.N)
		}
		_ = w.Flush()
	}
	if len(s.Domains) > 0 {
		w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\nDOMAIN (whole days of UTC)\tSTATE\tFAILURE\tEVENTS")
		for _, d := range s.Domains {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", term.Cut(term.Line(d.Domain), 40), d.State, cmp.Or(d.Class, "-"), d.N)
		}
		_ = w.Flush()
	}
	return b.String()
}

// seconds writes a number of seconds for people, in one unit.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Minute:
		return term.Spell(d)
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return term.Spell(d)
}

func share(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4g %%", 100*float64(part)/float64(whole))
}
