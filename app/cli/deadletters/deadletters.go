// Package deadletters has the commands for messages that were set aside.
package deadletters

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/user"
	"syscall"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/worker/broker"
)

// Cmd is for messages that were set aside.
type Cmd struct {
	Broker term.Broker `help:"Which broker of REDIS_URLS; needed if there are several." placeholder:"NAME"`

	Causes  causesCmd  `cmd:"" help:"Group them by cause, and tell what to do about each."`
	List    listCmd    `cmd:"" help:"List them, the newest first."`
	Show    showCmd    `cmd:"" help:"Show one: whose mail it is, why it is here, and its history."`
	Retry   retryCmd   `cmd:"" help:"Put them back into their queues, as new messages."`
	Edit    editCmd    `cmd:"" help:"Correct a copy of one, and put that into its queue."`
	Resolve resolveCmd `cmd:"" help:"Mark them as dealt with."`
	Reopen  reopenCmd  `cmd:"" help:"Take back that they are dealt with."`
	Delete  deleteCmd  `cmd:"" help:"Remove them for good."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `A message becomes a dead letter when nothing more can be done with it: it cannot
be read, its task is not known, its mail was refused, or its retries are used up.
DEAD_LETTERS_MAX of them are kept, for 30 days. A letter is open until it is
retried, replaced by an edited copy, dealt with, or deleted.

Examples:

    ` + term.ProgramName + ` dead-letters causes
    ` + term.ProgramName + ` dead-letters show <id>
    ` + term.ProgramName + ` dead-letters retry --reason "mail server" --since 2h
    ` + term.ProgramName + ` dead-letters edit <id> --set user_id=12
    ` + term.ProgramName + ` dead-letters resolve <id> --note "called the customer"`
}

// letters are the dead letters of a broker, as far as the commands use them.
type letters interface {
	List(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error)
	Get(ctx context.Context, id string) (broker.DeadLetter, error)
	Find(ctx context.Context, prefix string) (id string, err error)
	Each(ctx context.Context, fn func(broker.DeadLetter) error, states ...broker.LetterState) error
	Counts(ctx context.Context) (broker.LetterCounts, error)
	RetryMany(ctx context.Context, ids []string, by, note string) []error
	Replace(ctx context.Context, id string, raw []byte, by, note string) (taskID string, err error)
	Resolve(ctx context.Context, id, by, note string) error
	Reopen(ctx context.Context, id, by, note string) error
	Delete(ctx context.Context, id string) error
}

// box is the opened dead letters.
type box struct {
	letters
	cfg   config.Config
	close func() error
}

// open opens the dead letters of the configured Redis. close must be called.
func open(ctx context.Context) (*box, error) {
	cfg, err := app.LoadBroker(ctx)
	if err != nil {
		return nil, err
	}
	b, err := app.OpenBroker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, &app.UsageError{Err: err}
	}
	return &box{letters: b.Letters(), cfg: cfg, close: b.Close}, nil
}

// letter returns the dead letter whose id begins with prefix.
func (b *box) letter(ctx context.Context, prefix string) (broker.DeadLetter, error) {
	id, err := b.Find(ctx, prefix)
	if err != nil {
		return broker.DeadLetter{}, unreachable(err)
	}
	return b.Get(ctx, id)
}

// unreachable adds what to do to the error of a Redis that does not answer.
func unreachable(err error) error {
	_, refused := errors.AsType[syscall.Errno](err)
	_, network := errors.AsType[net.Error](err)
	if !refused && !network || errors.Is(err, context.Canceled) {
		return err
	}
	return &unreachableError{err}
}

type unreachableError struct{ error }

func (e *unreachableError) Error() string {
	return e.error.Error() + "\ncheck REDIS_URL, or REDIS_HOST and the other REDIS_* if it is not set"
}

func (e *unreachableError) Unwrap() error { return e.error }

// tellLocked warns of letters that the keys of this machine do not decrypt: their recipients
// are not shown, and conditions do not find them by these.
func tellLocked(t term.Terminal, items []desk.Item) {
	n := 0
	for i := range items {
		if items[i].Locked != nil {
			n++
		}
	}
	if n > 0 {
		term.Warn(t.Err, "letters that cannot be decrypted: %d; set DEAD_LETTER_KEY to the key of the workers to see whose they are", n)
	}
}

// person names who runs the command: the user and the host.
func person() string {
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		name += "@" + host
	}
	return name
}
