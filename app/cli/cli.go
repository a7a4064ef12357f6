// Package cli is the command line of the program.
package cli

import (
	"context"
	"errors"
	"os"

	"github.com/alecthomas/kong"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/audit"
	"github.com/evently/workers/app/cli/bounces"
	"github.com/evently/workers/app/cli/deadletters"
	"github.com/evently/workers/app/cli/deliveries"
	"github.com/evently/workers/app/cli/doctor"
	"github.com/evently/workers/app/cli/incident"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/app/cli/shell"
	"github.com/evently/workers/app/cli/suppressions"
	"github.com/evently/workers/app/cli/templates"
	"github.com/evently/workers/app/cli/top"
)

// helpWidth is the default width of a terminal.
const helpWidth = 80

// program is the command line.
type program struct {
	Run          runCmd                  `cmd:"" default:"1" help:"Take tasks from the queue and send mails; the default."`
	Monitor      monitorCmd              `cmd:"" help:"Serve the pages that show workers, queues, tasks and mails."`
	Dev          devCmd                  `cmd:"" help:"Try everything on this machine, without any server."`
	Config       configCmd               `cmd:"" help:"Show the configuration in force and its sources."`
	DeadLetters  deadletters.Cmd         `cmd:"" name:"dead-letters" help:"Look at messages that were set aside; retry or delete them."`
	WasItSent    deliveries.WasItSentCmd `cmd:"" name:"was-it-sent" help:"Tell whether a mail was sent, with the evidence."`
	Deliveries   deliveries.Cmd          `cmd:"" help:"Look at the history of mails; erase a person."`
	Bounces      bounces.Cmd             `cmd:"" help:"Look at mails that came back; take bounces in."`
	Templates    templates.Cmd           `cmd:"" help:"Preview, check and export the templates of the mails."`
	Suppressions suppressions.Cmd        `cmd:"" help:"Look at addresses that get no mail; add and release them."`
	Ledger       deliveries.LedgerCmd    `cmd:"" help:"Look after the database of the history."`
	Audit        audit.Cmd               `cmd:"" help:"Tell who did what; find what was tampered with."`
	MonitorUser  monitorUserCmd          `cmd:"" help:"Make a user of the monitor: ask for a password, print its hash."`
	Top          top.Cmd                 `cmd:"" help:"Watch rates, queues, workers and what to look at."`
	Incident     incident.Cmd            `cmd:"" help:"Bundle what is known about an incident; open a bundle."`
	Doctor       doctor.Cmd              `cmd:"" help:"Examine what a worker needs: Redis, databases, relays, templates."`
	Health       healthCmd               `cmd:"" help:"Ask a running worker how it is; for container health checks."`
	Version      versionCmd              `cmd:"" help:"Print the version."`
	Completion   shell.CompletionCmd     `cmd:"" help:"Print the completion for a shell."`
	Man          shell.ManCmd            `cmd:"" help:"Print the manual page."`
	Complete     shell.CompleteCmd       `cmd:"" hidden:"" help:"Complete a command line; the shells call it."`
}

const description = `Sends the mails of Evently: takes the tasks that Python services put into a
Celery queue on Redis, and stores the results that they wait for.

Everything is configured by environment variables:
"` + term.ProgramName + ` run --help" lists them,
"` + term.ProgramName + ` config" shows what is in force.

Exit codes:

    0  done; for run: an orderly stop
    1  failure
    2  wrong usage or wrong configuration
    3  was-it-sent: not known

Examples:

    ` + term.ProgramName + ` dev                  try it, no server needed
    ` + term.ProgramName + ` config               check the configuration
    ` + term.ProgramName + ` run                  work
    ` + term.ProgramName + ` monitor              look, on http://127.0.0.1:5555
    ` + term.ProgramName + ` dead-letters list    what could not be done
    ` + term.ProgramName + ` was-it-sent ADDRESS  whether a mail was sent`

// Main runs one command line, without the name of the program, and returns its exit code.
func Main(args []string) int {
	return execute(context.Background(), args, term.Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, t term.Terminal) int {
	var p program
	helped := false
	parser, err := kong.New(&p,
		kong.Name(term.ProgramName),
		kong.Description(description),
		kong.Writers(t.Out, t.Err),
		kong.Exit(func(int) { helped = true }), // kong calls it after --help only
		kong.ConfigureHelp(kong.HelpOptions{
			Compact: true, NoExpandSubcommands: true, NoAppDescFormat: true, WrapUpperBound: helpWidth,
		}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(t),
	)
	if err != nil {
		return term.Fail(t.Err, err)
	}
	command, err := parser.Parse(monitorFlag(args))
	if helped {
		return term.ExitOK
	}
	if err != nil {
		code := term.Fail(t.Err, &app.UsageError{Err: err, Hint: `run "` + helpCommand(command, err) + `"`})
		return usageCode(selected(command, err), code)
	}
	err = command.Run()
	if e, ok := errors.AsType[*term.ExitError](err); ok {
		return e.Code
	}
	if err != nil {
		return term.Fail(t.Err, err)
	}
	return term.ExitOK
}

// helpCommand names the help that is nearest to a wrong command line.
func helpCommand(command *kong.Context, err error) string {
	if node := selected(command, err); node != nil {
		return node.FullPath() + " --help"
	}
	return term.ProgramName + " --help"
}

// selected returns the command of a wrong command line, nil if there is none.
func selected(command *kong.Context, err error) *kong.Node {
	if e, ok := errors.AsType[*kong.ParseError](err); ok && command == nil {
		command = e.Context
	}
	if command == nil {
		return nil
	}
	return command.Selected()
}

// usageCode returns the exit code of wrong usage of a command: usual, unless the command has
// one for the program that runs it.
func usageCode(node *kong.Node, usual int) int {
	if node == nil {
		return usual
	}
	if c, ok := node.Target.Interface().(interface{ UsageCode() int }); ok {
		return c.UsageCode()
	}
	return usual
}
