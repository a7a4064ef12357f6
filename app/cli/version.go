package cli

import (
	"fmt"

	"github.com/evently/workers/app"
)

type versionCmd struct{}

// Help is the long help of the command.
func (versionCmd) Help() string {
	return `Prints one line: the version, the commit it was built from, and Go's version.`
}

// Run prints the version.
func (versionCmd) Run(t terminal) error {
	_, err := fmt.Fprintf(t.out, "%s %s\n", programName, app.Version())
	return err
}
