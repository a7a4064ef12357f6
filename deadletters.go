package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
)

// deadLettersCmd is for messages that were set aside.
type deadLettersCmd struct {
	List   listLettersCmd   `cmd:"" help:"List them, the newest first."`
	Show   showLetterCmd    `cmd:"" help:"Show one, without the values of its arguments."`
	Retry  retryLettersCmd  `cmd:"" help:"Put them back into their queues, as new messages."`
	Delete deleteLettersCmd `cmd:"" help:"Remove them for good."`
}

// Help is the long help of the command.
func (deadLettersCmd) Help() string {
	return `A message becomes a dead letter when nothing more can be done with it: it cannot
be read, its task is not known, its mail was refused, or its retries are used up.
DEAD_LETTERS_MAX of them are kept.

Examples:

    ` + programName + ` dead-letters list
    ` + programName + ` dead-letters show <id>
    ` + programName + ` dead-letters retry <id> <id>
    ` + programName + ` dead-letters delete --all`
}

// letterBox opens the dead letters of the Redis that is configured.
func letterBox(ctx context.Context) (*redis.Broker, error) {
	cfg, err := loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	b, err := openBroker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, &usageError{err: err}
	}
	return b, nil
}

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
			DeadLetters []worker.DeadLetter `json:"dead_letters"`
		}{total, append([]worker.DeadLetter{}, letters...)})
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
func table(letters []worker.DeadLetter) string {
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

type showLetterCmd struct {
	ID   string `arg:"" help:"Id of the dead letter, or its beginning."`
	Raw  bool   `help:"Print the exact bytes of the message instead. They may hold codes and addresses." xor:"form"`
	JSON bool   `name:"json" help:"Print JSON." xor:"form"`
}

// Help is the long help of the command.
func (showLetterCmd) Help() string {
	return `Shows where the message came from, why it was set aside, and the shape of its
arguments: names and types, no values.

Examples:

    ` + programName + ` dead-letters show <id>
    ` + programName + ` dead-letters show --raw <id> > message.json`
}

// Run prints the dead letter.
func (c showLetterCmd) Run(ctx context.Context, t terminal) error {
	b, err := letterBox(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	id, err := b.DeadLetterID(ctx, c.ID)
	if err != nil {
		return err
	}
	l, err := b.DeadLetter(ctx, id)
	if err != nil {
		return err
	}
	if c.Raw {
		_, err := t.out.Write(l.Raw)
		return err
	}
	view := describe(l)
	if c.JSON {
		return printJSON(t.out, view)
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\n", l.ID)
	fmt.Fprintf(w, "reason\t%s\n", line(l.Reason))
	fmt.Fprintf(w, "queue\t%s\n", line(l.Queue))
	fmt.Fprintf(w, "task\t%s\n", line(l.TaskName))
	fmt.Fprintf(w, "task id\t%s\n", line(l.TaskID))
	fmt.Fprintf(w, "set aside\t%s (%s ago)\n", l.At.Format(time.RFC3339), age(l.At))
	fmt.Fprintf(w, "size\t%d bytes\n", l.Size)
	if view.Unreadable != "" {
		fmt.Fprintf(w, "message\t%s\n", line(view.Unreadable))
	} else {
		fmt.Fprintf(w, "origin\t%s\n", line(view.Origin))
		fmt.Fprintf(w, "retries\t%d\n", view.Retries)
		fmt.Fprintf(w, "args\t%s\n", view.Args)
		fmt.Fprintf(w, "kwargs\t%s\n", view.Kwargs)
	}
	return w.Flush()
}

// chosen are the dead letters that a command is for.
type chosen struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of dead letters, or their beginnings."`
	All bool     `help:"All of them."`
	Yes bool     `help:"Do not ask before doing it to all."`
}

// Validate checks the flags.
func (c chosen) Validate() error {
	if c.All == (len(c.IDs) > 0) {
		return errors.New("name the ids of dead letters, or --all")
	}
	return nil
}

// each calls do for all that are chosen, whatever becomes of the others, and
// tells what was done.
func (c chosen) each(ctx context.Context, t terminal, verb, done string, do func(*redis.Broker, string) error) error {
	b, err := letterBox(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	ids := c.IDs
	if c.All {
		if ids, err = allLetters(ctx, b); err != nil {
			return err
		}
		if err := c.confirm(t, verb, len(ids)); err != nil {
			return err
		}
	}
	failed := 0
	for _, id := range ids {
		id, err := b.DeadLetterID(ctx, id)
		if err == nil {
			err = do(b, id)
		}
		if err != nil {
			failed++
			fmt.Fprintln(t.err, err)
			if ctx.Err() != nil {
				break
			}
		}
	}
	fmt.Fprintf(t.out, "%s: %d\n", done, len(ids)-failed)
	if failed > 0 {
		return errSilent
	}
	return nil
}

// allLetters returns the ids of all dead letters as they are now: those that
// come back while the command works are left alone.
func allLetters(ctx context.Context, b *redis.Broker) ([]string, error) {
	const page = 500
	var ids []string
	for {
		letters, total, err := b.DeadLetters(ctx, len(ids), page)
		if err != nil {
			return nil, err
		}
		for _, l := range letters {
			ids = append(ids, l.ID)
		}
		if len(letters) == 0 || len(ids) >= total {
			return ids, nil
		}
	}
}

// confirm asks whether it shall be all of them.
func (c chosen) confirm(t terminal, verb string, n int) error {
	if c.Yes || n == 0 {
		return nil
	}
	if !t.interactive() {
		return &usageError{err: fmt.Errorf("%s all %d dead letters: there is no terminal to ask on; say --yes", verb, n)}
	}
	fmt.Fprintf(t.err, "%s all %d dead letters? [y/N] ", verb, n)
	answer, _ := bufio.NewReader(t.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}

type retryLettersCmd struct{ chosen }

// Help is the long help of the command.
func (retryLettersCmd) Help() string {
	return `The message goes back into its queue with its retries unspent, and the result of
its last run is deleted. What cannot be read by any worker is refused. A mail
that was sent before may be sent again.

Examples:

    ` + programName + ` dead-letters retry <id>
    ` + programName + ` dead-letters retry --all --yes`
}

// Run retries.
func (c retryLettersCmd) Run(ctx context.Context, t terminal) error {
	return c.each(ctx, t, "Retry", "back in their queues", func(b *redis.Broker, id string) error {
		return b.RetryDeadLetter(ctx, id)
	})
}

type deleteLettersCmd struct{ chosen }

// Help is the long help of the command.
func (deleteLettersCmd) Help() string {
	return `Examples:

    ` + programName + ` dead-letters delete <id> <id>
    ` + programName + ` dead-letters delete --all`
}

// Run deletes.
func (c deleteLettersCmd) Run(ctx context.Context, t terminal) error {
	return c.each(ctx, t, "Delete", "deleted", func(b *redis.Broker, id string) error {
		return b.DeleteDeadLetter(ctx, id)
	})
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
