package cli

import (
	"context"
	"fmt"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
)

// configCmd shows the configuration.
type configCmd struct {
	JSON     bool `name:"json" help:"Print JSON." xor:"form"`
	Markdown bool `help:"Print the table of all variables for the README." xor:"form"`
}

// Help is the long help of the command.
func (configCmd) Help() string {
	return `Prints every variable with the value in force and its source: "default",
"env", "file" for a secret that is in a file, with ZERO_TOKEN "zero", or the
name of the variable that it follows from. Secrets are shown as ***.

When something is wrong, every mistake is printed and the exit code is 2: what
passes here is what run starts with. Use it to check a deployment. Nothing but
Zero is asked, so a wrong password is not noticed.

Examples:

    ` + term.ProgramName + ` config
    ` + term.ProgramName + ` config --json
    REDIS_URL=rediss://:secret@redis:6380/0 ` + term.ProgramName + ` config`
}

// Run prints the report.
func (c configCmd) Run(ctx context.Context, t term.Terminal) error {
	if c.Markdown {
		_, err := fmt.Fprint(t.Out, config.Markdown())
		return err
	}
	cfg, err := app.LoadConfig(ctx)
	if err != nil {
		return err
	}
	// A configuration that the program would not start with is not shown as one.
	if err := app.Check(cfg); err != nil {
		return err
	}
	if c.JSON {
		return term.PrintJSON(t.Out, struct {
			Variables []config.Setting `json:"variables"`
			Warnings  []config.Warning `json:"warnings"`
		}{cfg.Report(), append([]config.Warning{}, cfg.Warnings...)})
	}
	if _, err := fmt.Fprint(t.Out, config.Text(cfg.Report(), term.Columns(t.Out))); err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		term.Warn(t.Err, "%s", w)
	}
	return nil
}
