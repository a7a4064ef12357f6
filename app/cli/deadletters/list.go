package deadletters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/worker/broker"
)

type listCmd struct {
	conditions
	State  []state `default:"open" help:"States: open, retried, replaced, dealt_with, or all." placeholder:"STATE"`
	Limit  int     `default:"50" help:"Most to list."`
	Offset int     `default:"0" help:"How many of the newest to pass over."`
	JSON   bool    `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (listCmd) Help() string {
	return `Lists the letters that meet all conditions, the newest first. Of several values
of a condition one suffices. The domain of a user is known from the history of
mails only. On a narrow terminal each letter has two lines, and ids are cut to
what tells them apart. An id may be shortened in the other commands, to four
characters or more, while it is that of one dead letter.

Examples:

    ` + term.ProgramName + ` dead-letters list --limit 10
    ` + term.ProgramName + ` dead-letters list --reason "550 5.1.1" --domain gmail.com
    ` + term.ProgramName + ` dead-letters list --state all --json`
}

// Validate checks the flags.
func (c listCmd) Validate() error {
	if c.Limit < 1 || c.Limit > 10000 || c.Offset < 0 {
		return errors.New("--limit must be from 1 to 10000, and --offset 0 or more")
	}
	return c.check()
}

// Run prints the list.
func (c listCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	f := c.filter(c.State)
	items, total, err := c.page(ctx, t, b, f)
	if err != nil {
		return err
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, append([]desk.Item{}, items...))
	} else if total == 0 {
		_, err = fmt.Fprintln(t.Out, none(f))
	} else if len(items) == 0 {
		_, err = fmt.Fprintf(t.Out, "No more: there are %d.\n", total)
	} else {
		_, err = io.WriteString(t.Out, table(items, term.Columns(t.Out)))
	}
	if err != nil {
		return err
	}
	if rest := c.Offset + len(items); rest < total && len(items) > 0 {
		fmt.Fprintf(t.Err, "%d of %d; go on with --offset %d\n", len(items), total, rest)
	}
	return b.tellCounts(ctx, t, f)
}

// page returns the letters to list, and how many there are.
func (c listCmd) page(ctx context.Context, t term.Terminal, b *box, f desk.Filter) (items []desk.Item, total int, err error) {
	if !f.IsZero() || len(f.States) != 1 || f.States[0] != broker.LetterOpen {
		items, err = b.gather(ctx, f, t)
		total = len(items)
		items = items[min(c.Offset, total):]
		return items[:min(c.Limit, len(items))], total, err
	}
	// Without conditions only the letters of the page need be read.
	letters, total, err := b.List(ctx, c.Offset, c.Limit)
	for _, l := range letters {
		items = append(items, desk.New(l))
	}
	tellLocked(t, items)
	return items, total, unreachable(err)
}

// none says that no letter was found.
func none(f desk.Filter) string {
	if f.IsZero() && len(f.States) == 1 && f.States[0] == broker.LetterOpen {
		return "There are no open dead letters."
	}
	return "No dead letter meets the conditions."
}

// tellCounts tells of letters that a list of open ones does not have.
func (b *box) tellCounts(ctx context.Context, t term.Terminal, f desk.Filter) error {
	counts, err := b.Counts(ctx)
	if err != nil {
		return err
	}
	if counts.Closed > 0 && len(f.States) == 1 && f.States[0] == broker.LetterOpen {
		fmt.Fprintf(t.Err, "retried, replaced or dealt with: %d; see them with --state all\n", counts.Closed)
	}
	if lost := counts.Dropped + counts.Aged; lost > 0 {
		term.Warn(t.Err, "open letters that were lost: %d above DEAD_LETTERS_MAX, %d after 30 days; the last at %s",
			counts.Dropped, counts.Aged, term.Clock(counts.LastDropped))
	}
	return nil
}

// Widths from which a row has one line, and from which ids are whole.
const (
	oneLine  = 100
	wholeIDs = 150
)

// table returns the list for people, in lines of up to most columns; 0 is no limit. It leaves
// out what is the same in all rows.
func table(items []desk.Item, most int) string {
	ids, queues, states := make([]string, len(items)), map[string]bool{}, map[broker.LetterState]bool{}
	for i := range items {
		ids[i], queues[items[i].Queue], states[items[i].State] = items[i].ID, true, true
	}
	if most > 0 && most < wholeIDs {
		ids = shorten(ids)
	}
	narrow := most > 0 && most < oneLine
	columns := []column{{title: "ID"}, {title: "AGE"}}
	if len(states) > 1 || !states[broker.LetterOpen] {
		columns = append(columns, column{title: "STATE"})
	}
	if len(queues) > 1 {
		columns = append(columns, column{title: "QUEUE", most: 24})
	}
	columns = append(columns, column{title: taskTitle, most: 30}, column{title: "WHOSE", most: 40})
	if !narrow {
		columns = append(columns, column{title: "REASON", rest: true})
	}
	var second []string
	rows := make([][]string, 0, len(items))
	for i := range items {
		it := &items[i]
		row := make([]string, 0, len(columns))
		for _, c := range columns {
			row = append(row, cell(it, ids[i], c.title))
		}
		rows = append(rows, row)
		if narrow {
			second = append(second, cell(it, ids[i], "REASON"))
		}
	}
	return layOut(columns, rows, second, most)
}

// taskTitle is the title of the column with the kind of the mail, or the task that sends none.
const taskTitle = "KIND OR TASK"

// cell returns the text of a letter in a column.
func cell(it *desk.Item, id, title string) string {
	switch title {
	case "ID":
		return id
	case "AGE":
		return term.Age(it.At)
	case "STATE":
		return it.State.String()
	case "QUEUE":
		return term.Line(it.Queue)
	case taskTitle:
		return term.Line(cmp.Or(it.Kind, it.Task()))
	case "WHOSE":
		return whose(it)
	}
	reason := term.Line(it.Reason)
	if it.State == broker.LetterOpen && it.Expired(time.Now()) {
		reason = "expired; " + reason
	}
	return reason
}

// whose names the recipient and the booking as far as may be shown.
func whose(it *desk.Item) string {
	var parts []string
	if it.UserID != nil {
		parts = append(parts, fmt.Sprintf("user %d", *it.UserID))
	}
	if it.To != "" {
		parts = append(parts, it.To)
	}
	if it.Booking != "" {
		parts = append(parts, it.Booking)
	}
	return term.Line(strings.Join(parts, ", "))
}

// column is a column of a table.
type column struct {
	title string
	most  int  // widest; 0: as wide as its cells
	rest  bool // takes what the others leave
	right bool // numbers
}

// layOut writes rows with aligned columns. second holds a further line for each row, if any.
func layOut(columns []column, rows [][]string, second []string, most int) string {
	const gap = 2
	head := make([]string, len(columns))
	for i, c := range columns {
		head[i] = c.title
	}
	widths := term.Widths(append([][]string{head}, rows...))
	used := 0
	for i, c := range columns {
		if c.most > 0 {
			widths[i] = min(widths[i], c.most)
		}
		if !c.rest {
			used += widths[i] + gap
		}
	}
	fit(columns, widths, used, most)
	var b strings.Builder
	write := func(row []string) {
		var text strings.Builder
		for i, cell := range row {
			cell = term.Cut(cell, widths[i])
			space := strings.Repeat(" ", widths[i]-term.Cells(cell))
			if columns[i].right {
				cell, space = space+cell, ""
			}
			text.WriteString(cell + space + strings.Repeat(" ", gap))
		}
		line := strings.TrimRight(text.String(), " ")
		if most > 0 {
			line = term.Cut(line, most)
		}
		b.WriteString(line + "\n")
	}
	write(head)
	for i, row := range rows {
		write(row)
		if second != nil {
			text := "  " + second[i]
			if most > 0 {
				text = term.Cut(text, most)
			}
			b.WriteString(text + "\n")
		}
	}
	return b.String()
}

// fit narrows columns until a row has at most most columns: first the one with the rest, and
// then the widest of those with a bound.
func fit(columns []column, widths []int, used, most int) {
	const gap, least, leastRest = 2, 4, 24
	if most <= 0 {
		return
	}
	rest := -1
	for i, c := range columns {
		if c.rest {
			rest = i
		}
	}
	want := most
	if rest >= 0 {
		want -= min(widths[rest], leastRest)
	} else {
		want += gap
	}
	for used > want {
		widest := -1
		for i, c := range columns {
			if c.most > 0 && widths[i] > least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		used--
	}
	if rest >= 0 {
		widths[rest] = max(min(widths[rest], most-used), 1)
	}
}

// shorten cuts ids to eight characters, or as many as tell them apart.
func shorten(ids []string) []string {
	for n := 8; ; n += 4 {
		short, seen, longest := make([]string, len(ids)), make(map[string]bool), 0
		for i, id := range ids {
			short[i], longest = id[:min(n, len(id))], max(longest, len(id))
			seen[short[i]] = true
		}
		if len(seen) == len(ids) || n >= longest {
			return short
		}
	}
}
