package term

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/config"
)

// Exit codes, as the help states them.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
	ExitUnknown = 3 // of was-it-sent, if it is not known
)

// ProgramName is the name of the program, as people type it.
const ProgramName = app.Name

// ErrSilent fails a command that has printed everything itself.
var ErrSilent = errors.New("failed")

// Fail prints what went wrong and returns the exit code for it.
func Fail(w io.Writer, err error) int {
	if !errors.Is(err, ErrSilent) {
		fmt.Fprintf(w, "%s %s\n", Paint(w, Red, ProgramName+":"), strings.TrimSpace(err.Error()))
	}
	if _, ok := errors.AsType[*app.UsageError](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[*config.Error](err); ok || errors.Is(err, config.ErrZeroRefused) {
		return ExitUsage
	}
	return ExitFailure
}

// ExitError ends a command that has printed everything itself with an exit code.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }
