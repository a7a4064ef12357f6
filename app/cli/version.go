package cli

import (
	"fmt"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
)

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON for scripts."`
}

// Help is the long help of the command.
func (versionCmd) Help() string {
	return `Prints one line: the version, the commit it was built from, and Go's version.`
}

// Run prints the version.
func (c versionCmd) Run(t term.Terminal) error {
	b := app.BuildOf()
	if !c.JSON {
		_, err := fmt.Fprintf(t.Out, "%s %s\n", term.ProgramName, b)
		return err
	}
	out := struct {
		Version  string     `json:"version"`
		Commit   string     `json:"commit,omitempty"`
		Time     *time.Time `json:"time,omitempty"`
		Modified bool       `json:"modified"`
		Go       string     `json:"go"`
		System   string     `json:"system"`
	}{b.Version, b.Commit, nil, b.Modified, b.Go, b.System}
	if !b.Time.IsZero() {
		out.Time = &b.Time
	}
	return term.PrintJSON(t.Out, out)
}
