package cli

import (
	"fmt"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
)

type versionCmd struct{}

// Help is the long help of the command.
func (versionCmd) Help() string {
	return `Prints one line: the version, the commit it was built from, and Go's version.`
}

// Run prints the version.
func (versionCmd) Run(t term.Terminal) error {
	_, err := fmt.Fprintf(t.Out, "%s %s\n", term.ProgramName, app.Version())
	return err
}
