package shell

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
)

//go:embed scripts
var scripts embed.FS

// CompletionCmd prints the completion of a shell.
type CompletionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the long help of the command.
func (CompletionCmd) Help() string {
	return `Prints a script that lets the shell complete commands, flags and their values.

Examples, for the shell that runs:

    source <(` + term.ProgramName + ` completion bash)
    source <(` + term.ProgramName + ` completion zsh)
    ` + term.ProgramName + ` completion fish | source

For all shells of this user, write it to
~/.local/share/bash-completion/completions/` + term.ProgramName + `,
to a file _` + term.ProgramName + ` in a folder of zsh's fpath, or to
~/.config/fish/completions/` + term.ProgramName + `.fish.`
}

// Run prints the script.
func (c CompletionCmd) Run(t term.Terminal) error {
	script, err := template.ParseFS(scripts, "scripts/"+c.Shell)
	if err != nil {
		return fmt.Errorf("read the script for %s: %w", c.Shell, err)
	}
	var b bytes.Buffer
	err = script.Execute(&b, map[string]string{
		"Program": term.ProgramName, "Function": strings.ReplaceAll(term.ProgramName, "-", "_"),
	})
	if err != nil {
		return fmt.Errorf("write the script for %s: %w", c.Shell, err)
	}
	_, err = b.WriteTo(t.Out)
	return err
}

// CompleteCmd prints the words that can come next. The scripts of [CompletionCmd] call it.
type CompleteCmd struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints one candidate a line, with its help behind a tab.
func (c CompleteCmd) Run(t term.Terminal, k *kong.Kong) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, found := range candidates(k.Model.Node, words) {
		if _, err := fmt.Fprintf(t.Out, "%s\t%s\n", found.word, strings.Join(strings.Fields(found.help), " ")); err != nil {
			return err
		}
	}
	return nil
}

// ManCmd prints the manual page.
type ManCmd struct{}

// Help is the long help of the command.
func (ManCmd) Help() string {
	return `Prints the manual page in the format of man(7).

Examples, to read it and to install it:

    ` + term.ProgramName + ` man | man -l -
    ` + term.ProgramName + ` man > /usr/local/share/man/man1/` + term.ProgramName + `.1`
}

// Run prints the page.
func (ManCmd) Run(t term.Terminal, k *kong.Kong) error {
	var b bytes.Buffer
	writePage(&b, k.Model, app.BuildOf().Time)
	_, err := io.Copy(t.Out, &b)
	return err
}
