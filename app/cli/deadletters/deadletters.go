// Package deadletters has the commands for messages that were set aside.
package deadletters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor"
)

// Cmd is for messages that were set aside.
type Cmd struct {
	List   listLettersCmd   `cmd:"" help:"List them, the newest first."`
	Show   showLetterCmd    `cmd:"" help:"Show one, without the values of its arguments."`
	Retry  retryLettersCmd  `cmd:"" help:"Put them back into their queues, as new messages."`
	Delete deleteLettersCmd `cmd:"" help:"Remove them for good."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `A message becomes a dead letter when nothing more can be done with it: it cannot
be read, its task is not known, its mail was refused, or its retries are used up.
DEAD_LETTERS_MAX of them are kept.

Examples:

    ` + term.ProgramName + ` dead-letters list
    ` + term.ProgramName + ` dead-letters show <id>
    ` + term.ProgramName + ` dead-letters retry <id> <id>
    ` + term.ProgramName + ` dead-letters delete --all`
}

// openLetters opens the dead letters of the configured Redis. closing must be called.
func openLetters(ctx context.Context) (letters monitor.Letters, closing func() error, err error) {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return nil, nil, err
	}
	b, err := app.OpenBroker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, &app.UsageError{Err: err}
	}
	return b.Letters(), b.Close, nil
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

    ` + term.ProgramName + ` dead-letters show <id>
    ` + term.ProgramName + ` dead-letters show --raw <id> > message.json`
}

// Run prints the dead letter.
func (c showLetterCmd) Run(ctx context.Context, t term.Terminal) error {
	letters, closing, err := openLetters(ctx)
	if err != nil {
		return err
	}
	defer closing()
	id, err := letters.Find(ctx, c.ID)
	if err != nil {
		return err
	}
	l, err := letters.Get(ctx, id)
	if err != nil {
		return err
	}
	if c.Raw {
		_, err := t.Out.Write(l.Raw)
		return err
	}
	view := describe(l)
	if c.JSON {
		return term.PrintJSON(t.Out, view)
	}
	w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\n", l.ID)
	fmt.Fprintf(w, "reason\t%s\n", term.Line(l.Reason))
	fmt.Fprintf(w, "queue\t%s\n", term.Line(l.Queue))
	fmt.Fprintf(w, "task\t%s\n", term.Line(l.TaskName))
	fmt.Fprintf(w, "task id\t%s\n", term.Line(l.TaskID))
	fmt.Fprintf(w, "set aside\t%s (%s ago)\n", l.At.Format(time.RFC3339), term.Age(l.At))
	fmt.Fprintf(w, "size\t%d bytes\n", l.Size)
	if view.Unreadable != "" {
		fmt.Fprintf(w, "message\t%s\n", term.Line(view.Unreadable))
	} else {
		fmt.Fprintf(w, "origin\t%s\n", term.Line(view.Origin))
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
func (c chosen) each(ctx context.Context, t term.Terminal, verb, done string, do func(monitor.Letters, string) error) error {
	letters, closing, err := openLetters(ctx)
	if err != nil {
		return err
	}
	defer closing()
	ids := c.IDs
	if c.All {
		if ids, err = allLetters(ctx, letters); err != nil {
			return err
		}
		if err := c.confirm(t, verb, len(ids)); err != nil {
			return err
		}
	}
	failed := 0
	for _, id := range ids {
		id, err := letters.Find(ctx, id)
		if err == nil {
			err = do(letters, id)
		}
		if err != nil {
			failed++
			fmt.Fprintln(t.Err, err)
			if ctx.Err() != nil {
				break
			}
		}
	}
	fmt.Fprintf(t.Out, "%s: %d\n", done, len(ids)-failed)
	if failed > 0 {
		return term.ErrSilent
	}
	return nil
}

// allLetters returns the ids of all dead letters as they are now. Letters that come back
// while the command works are left alone.
func allLetters(ctx context.Context, letters monitor.Letters) ([]string, error) {
	const page = 500
	var ids []string
	for {
		found, total, err := letters.List(ctx, len(ids), page)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			ids = append(ids, l.ID)
		}
		if len(found) == 0 || len(ids) >= total {
			return ids, nil
		}
	}
}

// confirm asks whether to do it to all of them.
func (c chosen) confirm(t term.Terminal, verb string, n int) error {
	if c.Yes || n == 0 {
		return nil
	}
	doing := fmt.Sprintf("%s all %d dead letters", verb, n)
	return t.Confirm(doing+"?", doing)
}

type retryLettersCmd struct{ chosen }

// Help is the long help of the command.
func (retryLettersCmd) Help() string {
	return `The message goes back into its queue with its retries unspent, and the result of
its last run is deleted. A message that no worker can read is refused. A mail
that was sent before may be sent again.

Examples:

    ` + term.ProgramName + ` dead-letters retry <id>
    ` + term.ProgramName + ` dead-letters retry --all --yes`
}

// Run retries.
func (c retryLettersCmd) Run(ctx context.Context, t term.Terminal) error {
	return c.each(ctx, t, "Retry", "back in their queues", func(letters monitor.Letters, id string) error {
		return letters.Retry(ctx, id)
	})
}

type deleteLettersCmd struct{ chosen }

// Help is the long help of the command.
func (deleteLettersCmd) Help() string {
	return `Examples:

    ` + term.ProgramName + ` dead-letters delete <id> <id>
    ` + term.ProgramName + ` dead-letters delete --all`
}

// Run deletes.
func (c deleteLettersCmd) Run(ctx context.Context, t term.Terminal) error {
	return c.each(ctx, t, "Delete", "deleted", func(letters monitor.Letters, id string) error {
		return letters.Delete(ctx, id)
	})
}
