package deadletters

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
)

// editForm lets a person change a form in an editor, until it is right or empty.
func (c editCmd) editForm(ctx context.Context, t term.Terminal, b *box, l *broker.DeadLetter, args *tasks.Arguments) error {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"))
	if editor == "" {
		return &app.UsageError{Err: errors.New("there is no editor"), Hint: "set EDITOR, or use --set FIELD=VALUE or --file"}
	}
	form, err := args.Form(c.Reveal)
	if err != nil {
		return err
	}
	edit := func(ctx context.Context) (map[string]any, error) {
		return nil, runEditor(ctx, t, editor, l, args, form)
	}
	if !c.Reveal {
		_, err = edit(ctx)
		return err
	}
	action := app.Action{Name: "dead-letters.reveal", Subjects: []string{l.ID}, Details: map[string]any{"editor": true, "task_id": l.TaskID}}
	return app.Audit(ctx, b.cfg, action, edit)
}

// runEditor runs the editor in a new folder, which other users cannot read.
func runEditor(ctx context.Context, t term.Terminal, editor string, l *broker.DeadLetter, args *tasks.Arguments, form []byte) error {
	folder, err := os.MkdirTemp("", "dead-letter-")
	if err != nil {
		return fmt.Errorf("make a file for the editor: %w", err)
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "dead-letter.json")
	var fault error
	for {
		if err := os.WriteFile(file, append(instructions(l, fault), form...), 0o600); err != nil {
			return fmt.Errorf("make a file for the editor: %w", err)
		}
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "sh", file)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = t.In, t.Err, t.Err
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("run the editor %s: %w", editor, err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the form: %w", err)
		}
		typed := withoutComments(text)
		if len(bytes.TrimSpace(typed)) == 0 || fault != nil && bytes.Equal(typed, form) {
			return errors.New("nothing was done")
		}
		form = typed
		changed := args.Copy()
		if fault = changed.Fill(form); fault == nil {
			fault = errors.Join(changed.Faults()...)
		}
		if fault == nil {
			*args = *changed
			return nil
		}
	}
}

// instructions stand above the form.
func instructions(l *broker.DeadLetter, fault error) []byte {
	var b strings.Builder
	if fault != nil {
		b.WriteString("// It cannot be sent like this:\n")
		for line := range strings.SplitSeq(fault.Error(), "\n") {
			b.WriteString("//   " + term.Line(line) + "\n")
		}
		b.WriteString("//\n")
	}
	b.WriteString("// Arguments of dead letter " + l.ID + ", task " + term.Line(l.TaskName) + ".\n" +
		"// A field that says " + tasks.Unchanged + " keeps its value, and null removes it.\n" +
		"// Save and close to send a corrected copy; empty the file to do nothing.\n")
	return []byte(b.String())
}

// withoutComments removes lines that begin with //.
func withoutComments(form []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(form) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("//")) {
			b.Write(line)
		}
	}
	return b.Bytes()
}
