package deliveries

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
)

// WasItSentCmd tells whether a mail was sent.
type WasItSentCmd struct {
	Of            string `arg:"" name:"identifier" help:"Address, or id of a user, booking, event or task."`
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
the history does not settle it, and Redis answers, it looks for a dead letter
and for the result of the task as well.

Exit codes:

    0  sent
    1  not sent, or not yet
    2  wrong usage or wrong configuration
    3  not known: it may have been sent, there is no such mail in the history,
       or the history cannot be read. Do not send again because of it.

Examples:

    ` + term.ProgramName + ` was-it-sent ada@example.com
    ` + term.ProgramName + ` was-it-sent 8f14e45f-ceea-467f-a1de-d1f1e1d3b6c0
    ` + term.ProgramName + ` was-it-sent 42 --json`
}

// Validate checks the flags.
func (c WasItSentCmd) Validate() error {
	if strings.TrimSpace(c.Of) == "" {
		return errors.New("name an address, or the id of a user, booking, event or task")
	}
	if c.Limit < 1 || c.Limit > 1000 {
		return errors.New("--limit must be from 1 to 1000")
	}
	return nil
}

// answer is what the command prints.
type answer struct {
	Sent    verdict       `json:"sent"`
	Verdict string        `json:"verdict"`
	Traces  *traces       `json:"redis,omitempty"`
	Mails   []ledger.Mail `json:"mails"`

	Events []ledger.Record `json:"events"` // of the newest mail

	Suppressions []suppressions.Suppression `json:"suppressions,omitempty"` // in force, of the recipient
}

// verdict answers whether a mail was sent.
type verdict string

const (
	sentYes     verdict = "yes"
	sentNo      verdict = "no"
	sentNotYet  verdict = "not yet"
	sentUnknown verdict = "not known"
)

// exit returns the exit code of a verdict.
func (v verdict) exit() error {
	switch v {
	case sentYes:
		return nil
	case sentUnknown:
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
	a, newest, err := c.ask(ctx, cfg)
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
		return a.Sent.exit()
	}
	if _, err := fmt.Fprint(t.Out, a.text(newest, term.ParagraphWidth(t), term.Columns(t.Out))); err != nil {
		return err
	}
	return a.Sent.exit()
}

// ask looks for mails and decides. newest is the history of the newest one, nil without one.
func (c WasItSentCmd) ask(ctx context.Context, cfg config.Config) (a answer, newest *ledger.History, err error) {
	a.Mails, a.Events = []ledger.Mail{}, []ledger.Record{}
	identifier := strings.TrimSpace(c.Of)
	d, closing, err := openDeliveries(ctx, c.ShowAddresses)
	if err != nil {
		return a, nil, err
	}
	defer closing()
	found, err := d.Find(ctx, identifier, c.Limit)
	if err != nil {
		return a, nil, err
	}
	for i := range found {
		hideAddress(&found[i], c.ShowAddresses)
	}
	if a.Suppressions, err = suppressed(ctx, d, identifier, found, c.ShowAddresses); err != nil {
		return a, nil, err
	}
	if len(found) == 0 {
		a.Sent, a.Verdict, a.Traces, err = notFound(ctx, cfg, d, identifier)
		return a, nil, err
	}
	a.Mails = found
	histories, err := d.Histories(ctx, found[:1])
	if err != nil {
		return a, nil, err
	}
	newest = &histories[0]
	a.Events = append(a.Events, newest.Events...)
	a.Sent, a.Verdict = judge(*newest, time.Now())
	if needsTraces(newest.State) {
		tr := lookInRedis(ctx, cfg, newest.TaskID)
		a.Traces = &tr
	}
	return a, newest, nil
}

// needsTraces reports whether Redis may have more about a mail of that state.
func needsTraces(s ledger.State) bool {
	switch s {
	case ledger.Queued, ledger.Sending, ledger.Deferred, ledger.Unknown, ledger.Rejected, ledger.Dead:
		return true
	}
	return false
}

// notFound decides about an identifier that the history does not know.
func notFound(ctx context.Context, cfg config.Config, d monitor.Deliveries, identifier string) (verdict, string, *traces, error) {
	oldest, err := d.Oldest(ctx)
	if err != nil {
		return "", "", nil, err
	}
	text := fmt.Sprintf("Not known: the history has no mail of %q", identifier)
	if oldest.IsZero() {
		text += ", and none at all: no worker has written one yet."
	} else {
		text += ". It begins at " + term.Clock(oldest) + "."
	}
	if strings.Contains(identifier, "@") {
		if k, ok := d.(interface{ CheckKey(context.Context) error }); ok {
			if err := k.CheckKey(ctx); err != nil {
				text += " " + err.Error() + "."
			}
		}
		return sentUnknown, text + " The task may still wait in the queue: ask by its id as well.", nil, nil
	}
	tr := lookInRedis(ctx, cfg, identifier)
	if v, more := tr.judge(); v != "" {
		return v, more, &tr, nil
	}
	return sentUnknown, text + " The task may still wait in the queue.", &tr, nil
}

// text returns the answer for people. The verdict is one line where there is no terminal, whose
// columns are 0 then.
func (a answer) text(newest *ledger.History, width, columns int) string {
	var b strings.Builder
	b.WriteString(term.Fold(a.Verdict, min(width, columns), "") + "\n")
	for _, s := range a.Suppressions {
		b.WriteString(term.Fold(suppressionText(s), width, "  ") + "\n")
	}
	if a.Traces != nil {
		for _, l := range a.Traces.lines() {
			b.WriteString(term.Fold(l, width, "  ") + "\n")
		}
	}
	if newest != nil {
		b.WriteString("\n" + Timeline(*newest, width))
	}
	if len(a.Mails) > 1 {
		fmt.Fprintf(&b, "\nBefore that:\n\n%s", mailTable(a.Mails[1:], width))
	}
	return b.String()
}
