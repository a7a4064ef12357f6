package deadletters

import (
	"context"
	"errors"
	"unicode/utf8"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/desk"
)

// note is the reason that a person gives.
type note struct {
	Note string `help:"Why; it is kept beside the letter and in the audit trail." placeholder:"TEXT"`
}

func (n note) check() error {
	const most = 1000
	if len(n.Note) > most || !utf8.ValidString(n.Note) {
		return errors.New("--note must be text of 1000 bytes or less")
	}
	return nil
}

type retryCmd struct {
	chosen
	note
}

// Help is the long help of the command.
func (retryCmd) Help() string {
	return `The message goes back into its queue with its retries unspent, and the result of
its last run is deleted. The letter stays as retried, without its values. Two
people who retry a letter at once send one mail. A message that no worker can
read is refused, and so is a code or an offer that has expired. A mail that was
sent before may be sent again.

Conditions choose open letters. The command counts them by cause and asks;
--yes leaves out the question, and --dry-run does nothing else. Retried mails
wait in the same queue as new ones: --rate keeps the queue short. Ctrl-C stops
after the current letters; the same command goes on.

Examples:

    ` + term.ProgramName + ` dead-letters retry <id> <id>
    ` + term.ProgramName + ` dead-letters retry --reason "mail server" --dry-run
    ` + term.ProgramName + ` dead-letters retry --domain gmail.com --rate 50/s
    ` + term.ProgramName + ` dead-letters retry --all --yes --rate 600/m`
}

// Validate checks the flags.
func (c retryCmd) Validate() error { return errors.Join(c.chosen.Validate(), c.note.check()) }

// Run retries.
func (c retryCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	return c.run(ctx, t, b, job{title: "Retry", doing: "retrying dead letters", done: "back in their queues", verb: desk.Retry, note: c.Note, states: onlyOpen})
}

type deleteCmd struct {
	chosen
	note
	State []state `default:"open" help:"States for conditions and --all: open, retried, replaced, dealt_with, or all." placeholder:"STATE"`
}

// Help is the long help of the command.
func (deleteCmd) Help() string {
	return `Deleted letters cannot be had back. To keep a trace beside the audit trail, mark
them as dealt with. Conditions and --all choose open letters, unless --state
names others; the command counts them by cause and asks.

Examples:

    ` + term.ProgramName + ` dead-letters delete <id> <id>
    ` + term.ProgramName + ` dead-letters delete --reason not-json --dry-run
    ` + term.ProgramName + ` dead-letters delete --all --state retried,dealt_with`
}

// Validate checks the flags.
func (c deleteCmd) Validate() error { return errors.Join(c.chosen.Validate(), c.note.check()) }

// Run deletes.
func (c deleteCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	return c.run(ctx, t, b, job{title: "Delete", doing: "deleting dead letters", done: "deleted", verb: desk.Delete, note: c.Note, states: c.State})
}

type resolveCmd struct {
	chosen
	note
}

// Help is the long help of the command.
func (resolveCmd) Help() string {
	return `Marks letters as dealt with: nothing is sent, and lists of open letters leave
them out. The message is kept as long as that of an open letter, and reopen takes
it back.

Examples:

    ` + term.ProgramName + ` dead-letters resolve <id> --note "called the customer"
    ` + term.ProgramName + ` dead-letters resolve --kind otp --until 1h --note expired`
}

// Validate checks the flags.
func (c resolveCmd) Validate() error { return errors.Join(c.chosen.Validate(), c.note.check()) }

// Run marks.
func (c resolveCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	return c.run(ctx, t, b, job{title: "Mark as dealt with:", doing: "marking dead letters as dealt with", done: "dealt with", verb: desk.Resolve, note: c.Note, states: onlyOpen})
}

type reopenCmd struct {
	chosen
	note
}

// Help is the long help of the command.
func (reopenCmd) Help() string {
	return `Takes back that letters are dealt with. Retried and replaced letters cannot be
reopened, because they are messages again.

Examples:

    ` + term.ProgramName + ` dead-letters reopen <id> --note "the customer called back"
    ` + term.ProgramName + ` dead-letters reopen --kind welcome --since 1d`
}

// Validate checks the flags.
func (c reopenCmd) Validate() error { return errors.Join(c.chosen.Validate(), c.note.check()) }

// Run marks.
func (c reopenCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	return c.run(ctx, t, b, job{title: "Reopen", doing: "reopening dead letters", done: "open again", verb: desk.Reopen, note: c.Note, states: onlyDealtWith})
}
