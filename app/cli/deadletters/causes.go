package deadletters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/desk"
)

type causesCmd struct {
	conditions
	State    []state `default:"open" help:"States: open, retried, replaced, dealt_with, or all." placeholder:"STATE"`
	ByDomain bool    `help:"A row for each domain of recipients."`
	Limit    int     `default:"50" help:"Most causes to list."`
	JSON     bool    `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (causesCmd) Help() string {
	return `Counts the letters that meet all conditions by reason, task and kind of mail, the
most frequent cause first, with the id of its newest letter and what to do. Ids,
addresses and large numbers in reasons do not count. The domains of users are
known from the history of mails only.

Examples:

    ` + term.ProgramName + ` dead-letters causes
    ` + term.ProgramName + ` dead-letters causes --since 2h --by-domain
    ` + term.ProgramName + ` dead-letters causes --json`
}

// Validate checks the flags.
func (c causesCmd) Validate() error {
	if c.Limit < 1 || c.Limit > 10000 {
		return errors.New("--limit must be from 1 to 10000")
	}
	return c.check()
}

// Run prints the causes.
func (c causesCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	f := c.filter(c.State)
	items, err := b.gather(ctx, f, t)
	if err != nil {
		return err
	}
	if len(f.Domains) == 0 && len(items) > 0 {
		_ = b.addRecipients(ctx, items) // the domains are an extra
	}
	causes := group(items, c.ByDomain)
	total := len(causes)
	causes = causes[:min(total, c.Limit)]
	switch {
	case c.JSON:
		err = term.PrintJSON(t.Out, causes)
	case total == 0:
		_, err = fmt.Fprintln(t.Out, none(f))
	default:
		_, err = io.WriteString(t.Out, causeTable(causes, term.Columns(t.Out)))
	}
	if err != nil {
		return err
	}
	if len(causes) < total {
		fmt.Fprintf(t.Err, "%d of %d causes; see more with --limit\n", len(causes), total)
	}
	return b.tellCounts(ctx, t, f)
}

func group(items []desk.Item, byDomain bool) []desk.Cause {
	return desk.Causes{ByDomain: byDomain, Now: time.Now()}.Group(items)
}

// causeTable returns causes for people. Each has three lines: the numbers, the reason, and what
// to do.
func causeTable(causes []desk.Cause, most int) string {
	columns := []column{{title: "COUNT", right: true}, {title: "LAST"}, {title: "FIRST"}, {title: "EXAMPLE"}, {title: taskTitle, most: 40}, {title: "DOMAINS", most: 60}}
	ids := make([]string, len(causes))
	for i, c := range causes {
		ids[i] = c.Example
	}
	ids = shorten(ids)
	rows := make([][]string, len(causes))
	second := make([]string, len(causes))
	for i, c := range causes {
		rows[i] = []string{strconv.Itoa(c.Count), term.Age(c.Last), term.Age(c.First), ids[i], term.Line(cmp.Or(c.Kind, c.Task)), term.Line(c.DomainText())}
		second[i] = term.Line(c.Cause)
		advice := "  → " + c.Advice
		if c.Expired > 0 {
			advice += fmt.Sprintf("; %d expired, resolve or delete those", c.Expired)
		}
		if most > 0 {
			second[i] = term.Cut("  "+second[i], most)[2:]
			advice = term.Fold(advice, most, "    ")
		}
		second[i] += "\n" + advice
	}
	if !slices.ContainsFunc(causes, func(c desk.Cause) bool { return len(c.Domains) > 0 }) {
		columns = columns[:len(columns)-1]
		for i := range rows {
			rows[i] = rows[i][:len(columns)]
		}
	}
	return layOutCauses(columns, rows, second, most)
}

// layOutCauses is layOut with second lines that are as long as they may be.
func layOutCauses(columns []column, rows [][]string, second []string, most int) string {
	lines := strings.Split(strings.TrimSuffix(layOut(columns, rows, nil, most), "\n"), "\n")
	var b strings.Builder
	for i, text := range lines {
		b.WriteString(text + "\n")
		if i > 0 {
			b.WriteString("  " + second[i-1] + "\n")
		}
	}
	return b.String()
}
