package deadletters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/evently/workers/app/cli/internal/term"
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

    ` + term.ProgramName + ` dead-letters list --limit 10
    ` + term.ProgramName + ` dead-letters list --json`
}

// Validate checks the flags.
func (c listLettersCmd) Validate() error {
	if c.Limit < 1 || c.Limit > 10000 || c.Offset < 0 {
		return errors.New("--limit must be from 1 to 10000, and --offset 0 or more")
	}
	return nil
}

// Run prints the list.
func (c listLettersCmd) Run(ctx context.Context, t term.Terminal) error {
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
		return term.PrintJSON(t.Out, struct {
			Total       int                 `json:"total"`
			DeadLetters []broker.DeadLetter `json:"dead_letters"`
		}{total, append([]broker.DeadLetter{}, letters...)})
	}
	if total == 0 {
		_, err = fmt.Fprintln(t.Out, "There are no dead letters.")
		return err
	}
	if _, err := io.WriteString(t.Out, table(letters, term.Columns(t.Out))); err != nil {
		return err
	}
	if len(letters) < total {
		fmt.Fprintf(t.Err, "%d of %d; go on with --offset %d\n", len(letters), total, c.Offset+len(letters))
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
	if most > 0 && most < term.WideTerminal {
		ids = shorten(ids)
	}
	rows := [][]string{{"ID", "AGE", "QUEUE", "TASK", "REASON"}}
	for i, l := range letters {
		task := strings.TrimPrefix(l.TaskName, tasks.Module+".")
		rows = append(rows, []string{ids[i], term.Age(l.At), term.Line(l.Queue), term.Line(task), term.Line(l.Reason)})
	}
	if len(queues) < 2 {
		for i := range rows {
			rows[i] = slices.Delete(rows[i], 2, 3)
		}
	}
	return layOut(rows, most)
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

// layOut writes rows with aligned columns. The last two, task and reason, and the
// queue before them share what the others leave of most columns; the reason gets the
// most, as it says what to do.
func layOut(rows [][]string, most int) string {
	const gap, mostQueue, mostTask, narrowest = 2, 40, 60, 20
	columns := term.Widths(rows)
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
			cell = term.Cut(cell, columns[i])
			b.WriteString(cell)
			if i < last {
				b.WriteString(strings.Repeat(" ", columns[i]-term.Cells(cell)+gap))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
