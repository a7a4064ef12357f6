// Package bounces has the commands for mails that came back.
package bounces

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/config"
	"github.com/evently/workers/store/ledger"
)

// Cmd is for mails that came back.
type Cmd struct {
	List       listCmd       `cmd:"" help:"List bounces, the newest first."`
	Show       showCmd       `cmd:"" help:"Show one bounce, and the mail that it is about."`
	Ingest     ingestCmd     `cmd:"" help:"Take in one bounce from standard input, for mail servers."`
	WebhookURL webhookURLCmd `cmd:"" name:"webhook-url" help:"Print the path of the webhook of a mail service."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `A bounce tells that a mail was returned after the relay had accepted it. The mail
becomes "bounced", and was-it-sent answers no. docs/bounces.md tells how bounces
reach the worker: BOUNCE_LISTEN, a pipe to "bounces ingest", or WEBHOOK_ADDR.

Examples:

    ` + term.ProgramName + ` bounces list --since 24h
    ` + term.ProgramName + ` bounces list --unmatched
    ` + term.ProgramName + ` bounces show <id>
    ` + term.ProgramName + ` bounces ingest --recipient="$RECIPIENT" < message`
}

// open opens the bounces. The caller closes them.
func open(ctx context.Context) (app.Bounces, error) {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return app.Bounces{}, err
	}
	return app.OpenBounces(cfg, slog.New(slog.DiscardHandler))
}

// unreadable adds what to do to the error of bounces that cannot be read or stored.
func unreadable(err error) error {
	if _, ok := errors.AsType[*ledger.AccessError](err); ok || err == nil || errors.Is(err, ledger.ErrNoHistory) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("the bounces cannot be read or stored: %w\ncheck LEDGER_DATABASE_URL, or DATABASE_URL and DB_* if it is not set", err)
}

type ingestCmd struct {
	Recipient string `help:"Recipient of the envelope, such as $${RECIPIENT} of a Postfix pipe." placeholder:"ADDRESS"`
	JSON      bool   `name:"json" help:"Print what was stored as JSON."`
}

// Help is the long help of the command.
func (ingestCmd) Help() string {
	return `Reads one message from standard input and stores what it says. Without --recipient
a signed address is looked for in the header. A copy of an earlier message changes
nothing, and a message that is no bounce is ignored.

Exit codes:

    0   done: a mail server may forget the message
    75  not stored, and the message must be offered again (EX_TEMPFAIL)

Examples:

    ` + term.ProgramName + ` bounces ingest --recipient="$RECIPIENT" < message
    ` + term.ProgramName + ` bounces ingest --json < message`
}

const exitTempFail = 75 // EX_TEMPFAIL of sysexits.h: the mail server tries again

// UsageCode is the exit code of wrong flags: a mail server would return the message after
// another one.
func (ingestCmd) UsageCode() int { return exitTempFail }

// Run takes the message in. A person may mend any fault, so that the mail server must
// keep the message.
func (c ingestCmd) Run(ctx context.Context, t term.Terminal) error {
	outcome, err := c.take(ctx, t)
	if err != nil {
		fmt.Fprintf(t.Err, "%s bounces ingest: not stored, try again: %s\n", term.ProgramName, strings.TrimSpace(err.Error()))
		return &term.ExitError{Code: exitTempFail}
	}
	if c.JSON {
		return term.PrintJSON(t.Out, struct {
			Stored bool `json:"stored"`
			Copy   bool `json:"copy"`
			ledger.Bounce
		}{outcome.Stored, outcome.Copy, outcome.Bounce})
	}
	_, _ = fmt.Fprintln(t.Err, told(outcome)) // it is stored, even if the words are lost
	return nil
}

// told says what became of a message.
func told(o intake.Outcome) string {
	switch {
	case !o.Stored:
		return "ignored: the message is no bounce of a mail"
	case o.Copy:
		return "ignored: bounce " + o.ID + " is stored already"
	case o.MatchedBy == ledger.MatchForged:
		return "stored: bounce " + o.ID + ", which has a tag that is not signed; nothing follows from it"
	case o.Mail == "":
		return "stored: bounce " + o.ID + ", of no known mail"
	}
	return fmt.Sprintf("stored: bounce %s, %s, of the mail of task %s", o.ID, o.Kind, term.Line(o.TaskID))
}

func (c ingestCmd) take(ctx context.Context, t term.Terminal) (intake.Outcome, error) {
	raw, err := io.ReadAll(io.LimitReader(t.In, intake.MaxSize)) // the report comes before the mail that it returns
	if err != nil {
		return intake.Outcome{}, fmt.Errorf("read the message: %w", err)
	}
	_, _ = io.Copy(io.Discard, t.In) // the mail server may take a broken pipe for a failure
	b, err := open(ctx)
	if err != nil {
		return intake.Outcome{}, err
	}
	defer b.Close()
	outcome, err := b.Intake.Take(ctx, raw, strings.TrimSpace(c.Recipient), intake.SourceStdin)
	return outcome, unreadable(err)
}

type webhookURLCmd struct {
	Source string `arg:"" help:"Name of the service: brevo, generic, mailgun, postmark, sendgrid or ses."`
}

// Help is the long help of the command.
func (webhookURLCmd) Help() string {
	return `Prints the path to set in the console of a mail service, behind the host that
leads to WEBHOOK_ADDR. It holds a secret made of WEBHOOK_KEY, which is good for
this service alone. Requests to "generic" have a signature instead.

Examples:

    ` + term.ProgramName + ` bounces webhook-url ses
    echo "https://hooks.example.com$(` + term.ProgramName + ` bounces webhook-url ses)"`
}

// Run prints the path.
func (c webhookURLCmd) Run(ctx context.Context, t term.Terminal) error {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return err
	}
	if len(cfg.Bounces.WebhookKeys) == 0 {
		return &app.UsageError{Err: config.Add(nil, config.Problem{Variable: "WEBHOOK_KEY", Wrong: "it is not set", Right: "set it to the key of the workers"})}
	}
	path, err := intake.WebhookPath(cfg.Bounces.WebhookKeys[0].Reveal(), c.Source)
	if err != nil {
		return &app.UsageError{Err: err}
	}
	_, err = fmt.Fprintln(t.Out, path)
	return err
}
