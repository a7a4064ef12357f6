package templates

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

type exportCmd struct {
	Dir    string `arg:"" help:"Folder; it is made if it is not there."`
	Locale string `help:"Write the files of a language instead, such as de, with the English texts to translate." placeholder:"LANG"`
	Force  bool   `help:"Replace files that are there."`
}

// Help is the long help of the command.
func (exportCmd) Help() string {
	return `Writes the templates of the program. Change some of them and remove the others:
a template that is not in the folder stays the one of the program, also of later
versions. With --locale the texts of the mails get the language in their names,
and words.LANG.txt has the words that the program itself writes, each to be
translated.

Examples:

    ` + term.ProgramName + ` templates export mails
    ` + term.ProgramName + ` templates export --locale de mails`
}

// Run writes the files.
func (c exportCmd) Run(ctx context.Context, t term.Terminal) error {
	files := templates.Embedded()
	if c.Locale != "" {
		locale := templates.Locale(c.Locale)
		if locale == "" {
			return &app.UsageError{Err: fmt.Errorf("--locale: %q is no language; write one such as de, de-AT or zh-Hant", c.Locale)}
		}
		var err error
		if files, err = translation(ctx, files, locale); err != nil {
			return err
		}
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if c.Force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	} else if there := existing(c.Dir, files); len(there) > 0 {
		return fmt.Errorf("%s: %s there already, such as %s; choose another folder, or replace them with --force", c.Dir, term.Count(int64(len(there)), "file"), there[0])
	}
	for _, f := range files {
		if err := write(filepath.Join(c.Dir, filepath.FromSlash(f.Name)), f.Text, flags); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(t.Out, "%s written to %s\nset TEMPLATES_DIR=%s to use them; \"%s templates lint %s\" checks them\n",
		term.Count(int64(len(files)), "file"), c.Dir, c.Dir, term.ProgramName, c.Dir)
	return err
}

// existing returns the files that are there.
func existing(dir string, files []templates.File) (there []string) {
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Name))); err == nil {
			there = append(there, f.Name)
		}
	}
	return there
}

func write(file, text string, flags int) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", plain(err))
	}
	f, err := os.OpenFile(file, flags, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, plain(err))
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, plain(err))
	}
	return nil
}

// plain returns the cause without the path, which stands before it.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && !strings.Contains(e.Op, "mkdir") {
		return e.Err
	}
	return err
}

// translation returns what is to be translated: the parts of each mail, and the words.
func translation(ctx context.Context, files []templates.File, locale string) (all []templates.File, err error) {
	for _, f := range files {
		if strings.Contains(f.Name, "/") {
			end := path.Ext(f.Name)
			f.Name = strings.TrimSuffix(f.Name, end) + "." + locale + end
			all = append(all, f)
		}
	}
	k := app.OpenTemplates(ctx, app.WithoutFolder(), slog.New(slog.DiscardHandler))
	if k.Err() != nil {
		return nil, k.Err()
	}
	samples, err := tasks.Samples(true)
	if err != nil {
		return nil, err
	}
	words, err := k.Set().Words(locale, samples)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("# Words that the program writes into the mails: translate what stands behind the =,\n" +
		"# and remove the # before the line. Quotes keep spaces at the ends.\n")
	for _, w := range words {
		b.WriteString("# " + w + " = " + english(w) + "\n")
	}
	return append(all, templates.File{Name: "words." + locale + ".txt", Text: b.String()}), nil
}

// english returns what the program writes for a word.
func english(word string) string {
	if name, mark, ok := strings.Cut(word, " "); ok && (name == "decimal" || name == "thousands") {
		return mark
	}
	noun, form, ok := strings.Cut(word, " [")
	switch {
	case ok && form == "one]":
		return noun
	case ok:
		return noun + "s"
	}
	return word
}
