package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"

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
	return `Lists the newest first. On a terminal rows are cut to its width. An id may be
shortened in the other commands, to four characters or more, while it is that of
one dead letter.

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
	b, err := letterBox(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	letters, total, err := b.DeadLetters(ctx, c.Offset, c.Limit)
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
	if _, err := io.WriteString(t.out, fit(table(letters), columns(t.out))); err != nil {
		return err
	}
	if len(letters) < total {
		fmt.Fprintf(t.err, "%d of %d; go on with --offset %d\n", len(letters), total, c.Offset+len(letters))
	}
	return nil
}

// table is the list for people. What is the same in all rows, or seldom asked
// for, is left to show.
func table(letters []broker.DeadLetter) string {
	queues := make(map[string]bool)
	for _, l := range letters {
		queues[l.Queue] = true
	}
	row := func(id, age, queue, task, reason string) string {
		cells := []string{id, age, queue, task, reason}
		if len(queues) < 2 {
			cells = slices.Delete(cells, 2, 3)
		}
		return strings.Join(cells, "\t") + "\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, row("ID", "AGE", "QUEUE", "TASK", "REASON"))
	for _, l := range letters {
		task := strings.TrimPrefix(l.TaskName, tasks.Module+".")
		fmt.Fprint(w, row(l.ID, age(l.At), line(l.Queue), line(task), line(l.Reason)))
	}
	_ = w.Flush() // into memory
	return b.String()
}

// columns is the width of a terminal, 0 where there is none.
func columns(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// fit cuts lines that a terminal would wrap. Where there is none, whoever reads
// gets all.
func fit(text string, width int) string {
	if width < 20 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if runes := []rune(line); len(runes) > width {
			line = string(runes[:width-1]) + "…"
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// line makes foreign text fit for one cell on a terminal.
func line(text string) string {
	const most = 120
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
