// Package cli is the command line of the program.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/evently/workers/app"
	"github.com/evently/workers/config"
)

// Exit codes, as the help states them.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

const programName = app.Name

// helpWidth is the default width of a terminal.
const helpWidth = 80

// program is the command line.
type program struct {
	Run         runCmd         `cmd:"" default:"1" help:"Take tasks from the queue and send mails; the default."`
	Dev         devCmd         `cmd:"" help:"Try everything on this machine, without any server."`
	Config      configCmd      `cmd:"" help:"Show the configuration in force and its sources."`
	DeadLetters deadLettersCmd `cmd:"" name:"dead-letters" help:"Look at messages that were set aside; retry or delete them."`
	WasItSent   wasItSentCmd   `cmd:"" name:"was-it-sent" help:"Tell whether a mail was sent, with the evidence."`
	Deliveries  deliveriesCmd  `cmd:"" help:"Look at the history of mails; erase a person."`
	Ledger      ledgerCmd      `cmd:"" help:"Look after the database of the history."`
	Health      healthCmd      `cmd:"" help:"Ask a running worker how it is; for container health checks."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

const description = `Sends the mails of Evently: takes the tasks that Python services put into a
Celery queue on Redis, and stores the results that they wait for.

Everything is configured by environment variables:
"` + programName + ` run --help" lists them,
"` + programName + ` config" shows what is in force.

Exit codes:

    0  done; for run: an orderly stop
    1  failure
    2  wrong usage or wrong configuration
    3  was-it-sent: not known

Examples:

    ` + programName + ` dev                  try it, no server needed
    ` + programName + ` config               check the configuration
    ` + programName + ` run                  work
    ` + programName + ` dead-letters list    what could not be done
    ` + programName + ` was-it-sent ADDRESS  whether a mail was sent`

// Main runs one command line, without the name of the program, and returns its exit code.
func Main(args []string) int {
	return execute(context.Background(), args, terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr})
}

// terminal holds the files that a command reads and writes.
type terminal struct {
	in       *os.File
	out, err *os.File
}

// interactive reports whether a person can be asked.
func (t terminal) interactive() bool {
	return term.IsTerminal(int(t.in.Fd())) && term.IsTerminal(int(t.err.Fd()))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, t terminal) int {
	var p program
	helped := false
	parser, err := kong.New(&p,
		kong.Name(programName),
		kong.Description(description),
		kong.Writers(t.out, t.err),
		kong.Exit(func(int) { helped = true }), // kong calls it after --help only
		kong.ConfigureHelp(kong.HelpOptions{
			Compact: true, NoExpandSubcommands: true, NoAppDescFormat: true, WrapUpperBound: helpWidth,
		}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(t),
	)
	if err != nil {
		return fail(t.err, err)
	}
	command, err := parser.Parse(args)
	if helped {
		return exitOK
	}
	if err != nil {
		return fail(t.err, &app.UsageError{Err: err, Hint: `run "` + helpCommand(command, err) + `"`})
	}
	err = command.Run()
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if err != nil {
		return fail(t.err, err)
	}
	return exitOK
}

// helpCommand names the help that is nearest to a wrong command line.
func helpCommand(command *kong.Context, err error) string {
	if e, ok := errors.AsType[*kong.ParseError](err); ok && command == nil {
		command = e.Context
	}
	if command != nil && command.Selected() != nil {
		return command.Selected().FullPath() + " --help"
	}
	return programName + " --help"
}

// errSilent fails a command that has printed everything itself.
var errSilent = errors.New("failed")

// fail prints what went wrong and returns the exit code for it.
func fail(w io.Writer, err error) int {
	if !errors.Is(err, errSilent) {
		fmt.Fprintf(w, "%s %s\n", paint(w, red, programName+":"), strings.TrimSpace(err.Error()))
	}
	if _, ok := errors.AsType[*app.UsageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*config.Error](err); ok || errors.Is(err, config.ErrZeroRefused) {
		return exitUsage
	}
	return exitFailure
}

const red = "31"

// paint colours text on a terminal, unless NO_COLOR (no-color.org) or a dumb
// terminal forbids it.
func paint(w io.Writer, colour, text string) string {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
