package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
)

type listLettersCmd struct {
	Limit  int  `default:"50" help:"Most to list."`
	Offset int  `default:"0" help:"How many of the newest to pass over."`
	JSON   bool `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (listLettersCmd) Help() string {
	return `Lists the newest first. On a terminal rows are cut to its width, and ids to what
tells them apart. An id may be shortened in the other commands, to four
characters or more, while it is that of one dead letter.

Examples:

    ` + programName + ` dead-letters list --limit 10
    ` + programName + ` dead-letters list --json`
}

// Validate checks the flags.
func (c listLettersCmd) Validate() error {
	if c.Limit < 1 || c.Limit > 10000 || c.Offset < 0 {
		return errors.New("--limit must be from 1 to 10000, and --offset 0 or more")
	}
	return nil
}

// Run prints the list.
func (c listLettersCmd) Run(ctx context.Context, t terminal) error {
	box, closing, err := openLetters(ctx)
	if err != nil {
		return err
	}
	defer closing()
	letters, total, err := box.List(ctx, c.Offset, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(t.out, struct {
			Total       int                 `json:"total"`
			DeadLetters []broker.DeadLetter `json:"dead_letters"`
		}{total, append([]broker.DeadLetter{}, letters...)})
	}
	if total == 0 {
		_, err = fmt.Fprintln(t.out, "There are no dead letters.")
		return err
	}
	if _, err := io.WriteString(t.out, table(letters, columns(t.out))); err != nil {
		return err
	}
	if len(letters) < total {
		fmt.Fprintf(t.err, "%d of %d; go on with --offset %d\n", len(letters), total, c.Offset+len(letters))
	}
	return nil
}

// table returns the list for people, in lines of up to most columns; 0 is no limit. It
// leaves out what is the same in all rows, or seldom asked for.
func table(letters []broker.DeadLetter, most int) string {
	ids, queues := make([]string, len(letters)), make(map[string]bool)
	for i, l := range letters {
		ids[i], queues[l.Queue] = l.ID, true
	}
	if most > 0 && most < wideTerminal {
		ids = shorten(ids)
	}
	rows := [][]string{{"ID", "AGE", "QUEUE", "TASK", "REASON"}}
	for i, l := range letters {
		task := strings.TrimPrefix(l.TaskName, tasks.Module+".")
		rows = append(rows, []string{ids[i], age(l.At), line(l.Queue), line(task), line(l.Reason)})
	}
	if len(queues) < 2 {
		for i := range rows {
			rows[i] = slices.Delete(rows[i], 2, 3)
		}
	}
	return layOut(rows, most)
}

// wideTerminal is the width from which whole ids are listed.
const wideTerminal = 120

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

// widths returns the width of each column.
func widths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], cells(cell))
		}
	}
	return widths
}

// layOut writes rows with aligned columns. The last two, task and reason, and the
// queue before them share what the others leave of most columns; the reason gets the
// most, as it says what to do.
func layOut(rows [][]string, most int) string {
	const gap, mostQueue, mostTask, narrowest = 2, 40, 60, 20
	columns := widths(rows)
	last := len(columns) - 1
	task, queue := last-1, last-2
	columns[task] = min(columns[task], mostTask)
	if queue > 1 {
		columns[queue] = min(columns[queue], mostQueue)
	}
	if most >= narrowest {
		rest := most - gap*last - columns[0] - columns[1]
		if queue > 1 {
			columns[queue] = min(columns[queue], max(rest/5, 4))
			rest -= columns[queue]
		}
		columns[task] = min(columns[task], max(rest*2/5, rest-columns[last], 4))
		columns[last] = max(rest-columns[task], 1)
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			cell = cut(cell, columns[i])
			b.WriteString(cell)
			if i < last {
				b.WriteString(strings.Repeat(" ", columns[i]-cells(cell)+gap))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// columns returns the width of a terminal, 0 where there is none. COLUMNS overrides the
// width that the terminal reports.
func columns(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return width
}

// cells counts the columns that a text takes on a terminal.
func cells(text string) int {
	n := 0
	for _, r := range text {
		n += runeCells(r)
	}
	return n
}

func runeCells(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut shortens a text to n columns.
func cut(text string, n int) string {
	if cells(text) <= n {
		return text
	}
	var b strings.Builder
	used := 1 // of the ellipsis
	for _, r := range text {
		if used += runeCells(r); used > n {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

// line makes foreign text fit for one line on a terminal.
func line(text string) string {
	const most = 500
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

func age(at time.Time) string {
	d := max(0, time.Since(at))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
