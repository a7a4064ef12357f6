package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/evently/workers/app"
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
"env", with ZERO_TOKEN "zero", or the name of the variable that it follows from.
Secrets are shown as ***.

When something is wrong, every mistake is printed and the exit code is 2: what
passes here is what run starts with. Use it to check a deployment. Nothing but
Zero is asked, so a wrong password is not noticed.

Examples:

    ` + programName + ` config
    ` + programName + ` config --json
    REDIS_URL=rediss://:secret@redis:6380/0 ` + programName + ` config`
}

// Run prints the report.
func (c configCmd) Run(ctx context.Context, t terminal) error {
	if c.Markdown {
		_, err := fmt.Fprint(t.out, config.Markdown())
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
		return printJSON(t.out, struct {
			Variables []config.Setting `json:"variables"`
			Warnings  []config.Warning `json:"warnings"`
		}{cfg.Report(), append([]config.Warning{}, cfg.Warnings...)})
	}
	if _, err := fmt.Fprint(t.out, config.Text(cfg.Report(), columns(t.out))); err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(t.err, "%s %s\n", paint(t.err, yellow, "warning:"), w)
	}
	return nil
}

const yellow = "33"

func printJSON(f *os.File, v any) error {
	e := json.NewEncoder(f)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
