package deliveries

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/verdict"
)

// WasItSentCmd tells whether a mail was sent.
type WasItSentCmd struct {
	Of            string `arg:"" name:"identifier" help:"Address, Message-ID, or id of a user, booking, event, task or relay queue."`
	Limit         int    `default:"10" help:"Most mails to list."`
	ShowAddresses bool   `help:"Show whole addresses. It needs LEDGER_KEY."`
	JSON          bool   `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (WasItSentCmd) Help() string {
	return `Answers in one sentence, about the newest mail of that address, user, booking or
task, with the evidence below. Other mails follow, the newest first.
"Sent" means that a mail server accepted the mail.

It reads the history in LEDGER_DATABASE_URL, or in the service's database. If
the history does not settle it, or cannot be read, and Redis answers, it looks
for a dead letter and for the result of the task. It says when the history is
behind.

Exit codes:

    0  sent
    1  not sent, or not yet
    2  wrong usage or wrong configuration
    3  not known: it may have been sent, there is no such mail in the history,
       or the history cannot be read, and no result in Redis says that it was
       sent. Do not send again because of it.

Examples:

    ` + term.ProgramName + ` was-it-sent ada@example.com
    ` + term.ProgramName + ` was-it-sent 8f14e45f-ceea-467f-a1de-d1f1e1d3b6c0
    ` + term.ProgramName + ` was-it-sent 42 --json`
}

// Validate checks the flags.
func (c WasItSentCmd) Validate() error {
	if strings.TrimSpace(c.Of) == "" {
		return errors.New("name an address, a Message-ID, or the id of a user, booking, event or task")
	}
	if c.Limit < 1 || c.Limit > 1000 {
		return errors.New("--limit must be from 1 to 1000")
	}
	return nil
}

// exit returns the exit code of an answer. Without the history no answer invites to send again.
func exit(a verdict.Answer) error {
	switch {
	case a.Sent == verdict.Yes:
		return nil
	case a.Sent == verdict.Unknown, a.Fault != nil:
		return &term.ExitError{Code: term.ExitUnknown}
	}
	return &term.ExitError{Code: term.ExitFailure}
}

// Run answers.
func (c WasItSentCmd) Run(ctx context.Context, t term.Terminal) error {
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return err
	}
	a, err := c.ask(ctx, cfg)
	if usage, ok := errors.AsType[*app.UsageError](err); ok {
		return usage
	}
	if err != nil {
		term.Fail(t.Err, unreadable(err))
		return &term.ExitError{Code: term.ExitUnknown}
	}
	if c.JSON {
		if err := term.PrintJSON(t.Out, a); err != nil {
			return err
		}
		return exit(a)
	}
	if _, err := fmt.Fprint(t.Out, answerText(a, term.ParagraphWidth(t), term.Columns(t.Out))); err != nil {
		return err
	}
	return exit(a)
}

// ask looks for mails and decides.
func (c WasItSentCmd) ask(ctx context.Context, cfg config.Config) (a verdict.Answer, err error) {
	d, closing, err := openDeliveries(ctx, c.ShowAddresses)
	if err != nil {
		return a, err
	}
	defer closing()
	return verdict.Ask(ctx, d, verdict.Question{
		Of: c.Of, Limit: c.Limit, ShowAddresses: c.ShowAddresses,
		Redis: func(ctx context.Context, taskID string) verdict.Traces { return lookInBrokers(ctx, cfg, taskID) },
	})
}

// lookInBrokers looks for the traces of a task in each broker.
func lookInBrokers(ctx context.Context, cfg config.Config, taskID string) (all verdict.Traces) {
	for i, b := range cfg.Brokers {
		cfg.Redis = b.Redis
		traces := lookInRedis(ctx, cfg, taskID)
		if traces.Broker = b.Name; i > 0 {
			traces = all.Merge(traces)
		}
		all = traces
	}
	return all
}

// lookInRedis looks for the traces of a task in one broker.
func lookInRedis(ctx context.Context, cfg config.Config, taskID string) verdict.Traces {
	b, err := app.OpenBroker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return verdict.Traces{Error: err.Error()}
	}
	defer b.Close()
	return verdict.Look(ctx, b, b.Letters(), taskID)
}

// answerText returns the answer for people. The verdict is one line where there is no terminal, whose
// columns are 0 then.
func answerText(a verdict.Answer, width, columns int) string {
	var b strings.Builder
	b.WriteString(term.Fold(a.Verdict, min(width, columns), "") + "\n")
	if a.Fault != nil {
		b.WriteString(term.Fold(words.Sentence(a.Missing)+" The recipient, the attempts and the words of the relay are missing.", width, "  ") + "\n")
	}
	for _, s := range a.Suppressions {
		b.WriteString(term.Fold(fmt.Sprintf("%s %s suppressions show %s tells why.", verdict.SuppressionText(s), term.ProgramName, s.ID[:10]), width, "  ") + "\n")
	}
	if a.Traces != nil {
		for _, l := range a.Traces.Lines() {
			b.WriteString(term.Fold(l, width, "  ") + "\n")
		}
	}
	if newest := a.Newest(); newest != nil {
		b.WriteString("\n" + Timeline(*newest, width))
	}
	if len(a.Mails) > 1 {
		fmt.Fprintf(&b, "\nBefore that:\n\n%s", mailTable(a.Mails[1:], width))
	}
	return b.String()
}
