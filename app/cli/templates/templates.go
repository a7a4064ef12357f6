// Package templates is the commands about the templates of the mails.
package templates

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/templates/folder"
)

// Cmd is the group of the commands.
type Cmd struct {
	Preview previewCmd `cmd:"" help:"Show all mails in a browser, or write them to files."`
	Lint    lintCmd    `cmd:"" help:"Check templates as a worker does at its start."`
	Export  exportCmd  `cmd:"" help:"Write the embedded templates to a folder, to begin with."`
}

// Help is the long help of the command.
func (Cmd) Help() string {
	return `Templates in the folder TEMPLATES_DIR take the place of those of the program, or
add a language. docs/templates.md tells how to write them.

Examples:

    ` + term.ProgramName + ` templates export mails
    ` + term.ProgramName + ` templates lint mails
    ` + term.ProgramName + ` templates preview mails`
}

// open reads the templates of a folder; "": of TEMPLATES_DIR, or those of the program.
func open(ctx context.Context, dir string, log *slog.Logger) (*folder.Keeper, error) {
	cfg, err := app.TemplatesConfig()
	if err != nil {
		return nil, err
	}
	if dir != "" {
		cfg.Templates.Dir = dir
	}
	return app.OpenTemplates(ctx, cfg, log), nil
}

type lintCmd struct {
	Dir    string `arg:"" optional:"" help:"Folder; default: TEMPLATES_DIR, or the templates of the program."`
	Strict bool   `help:"Fail also if a language is incomplete."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is the long help of the command.
func (lintCmd) Help() string {
	return `Renders all mails with samples, in all languages, and checks what mail programs
and their readers need: fields that exist, a text part that says what the HTML
says, contrast, links, size, the preheader, no text of users as markup. BRAND_*
and DEFAULT_LOCALE count, too. Each fault is a line: file:line:column: text.
A language that is incomplete is a warning: its mails are sent in the default
language. The exit code is 1 with faults, and with --strict with warnings.

Examples:

    ` + term.ProgramName + ` templates lint mails
    ` + term.ProgramName + ` templates lint --strict --json mails`
}

// linted is what the command prints as JSON.
type linted struct {
	Dir      string              `json:"dir"`
	OK       bool                `json:"ok"`
	Faults   []templates.Fault   `json:"faults"`
	Warnings []templates.Fault   `json:"warnings"`
	Skipped  []string            `json:"skipped"`
	Locales  map[string][]string `json:"locales"` // by the kind of mail; none with faults
}

// Run checks.
func (c lintCmd) Run(ctx context.Context, t term.Terminal) error {
	k, err := open(ctx, c.Dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	s := k.State()
	r := linted{Dir: s.Dir, Faults: []templates.Fault{}, Warnings: []templates.Fault{}, Skipped: append([]string{}, s.Skipped...), Locales: map[string][]string{}}
	for _, f := range slices.Concat(s.Faults, s.Warnings) {
		if f.Warning {
			r.Warnings = append(r.Warnings, f)
		} else {
			r.Faults = append(r.Faults, f)
		}
	}
	r.OK = len(r.Faults) == 0 && (len(r.Warnings) == 0 || !c.Strict)
	if set := k.Set(); set != nil {
		for _, m := range tasks.Mails() {
			r.Locales[m.Kind()] = set.Locales(templates.Kind(m.Kind()))
		}
	}
	if c.JSON {
		err = term.PrintJSON(t.Out, r)
	} else {
		err = r.print(t.Out)
	}
	if err == nil && !r.OK {
		return &term.ExitError{Code: term.ExitFailure}
	}
	return err
}

// print writes the faults, and then how many there are.
func (r linted) print(w io.Writer) error {
	for _, f := range r.Faults {
		if _, err := fmt.Fprintln(w, f.Error()); err != nil {
			return err
		}
	}
	for _, f := range r.Warnings {
		if _, err := fmt.Fprintln(w, "warning: "+f.Error()); err != nil {
			return err
		}
	}
	for _, name := range r.Skipped {
		if _, err := fmt.Fprintln(w, "warning: "+name+": is no template by its name, and is not read"); err != nil {
			return err
		}
	}
	languages := map[string]bool{}
	for _, all := range r.Locales {
		for _, l := range all {
			languages[l] = true
		}
	}
	text := term.Count(int64(len(r.Faults)), "fault")
	if len(r.Faults) == 0 {
		text = fmt.Sprintf("no faults: %s, %s", term.Count(int64(len(r.Locales)), "mail"), term.Count(int64(len(languages)), "language"))
	}
	if n := len(r.Warnings) + len(r.Skipped); n > 0 {
		text += ", " + term.Count(int64(n), "warning")
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
