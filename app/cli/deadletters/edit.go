package deadletters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

type editCmd struct {
	ID   string   `arg:"" help:"Id of the dead letter, or its beginning."`
	Set  []string `help:"New value of a field; an empty one removes the field." placeholder:"FIELD=VALUE" sep:"none"`
	File string   `help:"JSON form with the arguments; - is standard input." placeholder:"FILE"`
	note
	Reveal bool `help:"Show the values in the editor. It needs DEAD_LETTER_KEY."`
	JSON   bool `name:"json" help:"Print a JSON array."`
}

// Help is the long help of the command.
func (editCmd) Help() string {
	var fields strings.Builder
	for _, m := range tasks.Mails() {
		keys := strings.Join(m.Keys(), ", ")
		fields.WriteString("    " + term.Fold(m.Name+": "+keys, 72, "        ") + "\n")
	}
	return `Corrects the arguments of a mail task in a copy of its message, which goes into
the queue under a new task id, once. The letter stays as replaced, and names the
copy. Callbacks stay; a group or chord of the message gets no second result. The
copy is checked by the fields of the task before.

Without --set and --file the editor of VISUAL or EDITOR opens a form. Values in
it are ` + tasks.Unchanged + `, unless --reveal shows them; a field that still says so keeps
its value, and null removes it. A form of --file has the same JSON. A command
line can be read by other users of a machine: use a form for a code.

Fields:

` + fields.String() + `
Examples:

    ` + term.ProgramName + ` dead-letters edit <id> --set user_id=12
    ` + term.ProgramName + ` dead-letters edit <id> --set email=ada@example.com
    ` + term.ProgramName + ` dead-letters edit <id> --file form.json --note "wrong user"`
}

// Validate checks the flags.
func (c editCmd) Validate() error {
	if len(c.Set) > 0 && c.File != "" {
		return errors.New("use either --set or --file")
	}
	if c.Reveal && (len(c.Set) > 0 || c.File != "") {
		return errors.New("--reveal is for the editor, and not for --set or --file")
	}
	return c.note.check()
}

// Run makes and sends the copy.
func (c editCmd) Run(ctx context.Context, t term.Terminal) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	if c.Reveal && !b.mayReveal() {
		return errNoKey
	}
	l, err := b.letter(ctx, c.ID)
	if err != nil {
		return err
	}
	message, args, err := desk.Editable(&l)
	if err != nil {
		return err
	}
	if err := c.change(ctx, t, b, &l, args); err != nil {
		return err
	}
	if len(args.Changed()) == 0 {
		return errors.New("nothing was changed; retry sends it as it is")
	}
	return c.send(ctx, t, b, &l, message, args)
}

// change changes the arguments in the way that was asked for, and checks them.
func (c editCmd) change(ctx context.Context, t term.Terminal, b *box, l *broker.DeadLetter, args *tasks.Arguments) error {
	var err error
	switch {
	case len(c.Set) > 0:
		err = errors.Join(c.setFields(args), errors.Join(args.Faults()...))
	case c.File != "":
		err = c.fillFile(t, args)
	case t.Interactive():
		return c.editForm(ctx, t, b, l, args)
	default:
		err = errors.New("say what to change with --set FIELD=VALUE or --file; there is no terminal for an editor")
	}
	if err == nil {
		err = errors.Join(args.Faults()...)
	}
	if err != nil {
		return &app.UsageError{Err: err, Hint: "nothing was sent"}
	}
	return nil
}

func (c editCmd) setFields(args *tasks.Arguments) error {
	var faults []error
	for _, s := range c.Set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			faults = append(faults, fmt.Errorf("--set %s: write FIELD=VALUE", term.Line(key)))
			continue
		}
		if err := args.Set(strings.TrimSpace(key), value); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (c editCmd) fillFile(t term.Terminal, args *tasks.Arguments) error {
	file := t.In
	if c.File != "-" {
		var err error
		if file, err = os.Open(c.File); err != nil {
			return fmt.Errorf("--file: %w", err)
		}
		defer file.Close()
	}
	form, err := io.ReadAll(io.LimitReader(file, protocol.DefaultSize))
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	return args.Fill(withoutComments(form))
}

// edited is what became of an edited letter, for programs.
type edited struct {
	ID      string   `json:"id"`
	TaskID  string   `json:"task_id"` // of the copy
	Changed []string `json:"changed"` // fields
}

// send puts the copy into the queue.
func (c editCmd) send(ctx context.Context, t term.Terminal, b *box, l *broker.DeadLetter, m *protocol.Message, args *tasks.Arguments) error {
	raw, err := desk.Copy(m, args)
	if err != nil {
		return fmt.Errorf("edited copy of dead letter %s: %w", l.ID, err)
	}
	action := app.Action{Name: "dead-letters.edit", Subjects: []string{l.ID}, Details: map[string]any{"fields": args.Changed(), "task_id": l.TaskID}}
	if c.Note != "" {
		action.Details["note"] = mail.MaskAddresses(c.Note)
	}
	var taskID string
	err = app.Audit(ctx, b.cfg, action, func(ctx context.Context) (map[string]any, error) {
		var err error
		taskID, err = b.Replace(ctx, l.ID, raw, person(), c.Note)
		return map[string]any{"copy": taskID}, err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return term.PrintJSON(t.Out, []edited{{ID: l.ID, TaskID: taskID, Changed: args.Changed()}})
	}
	_, err = fmt.Fprintf(t.Out, "back in its queue with another %s, as task %s\n", strings.Join(args.Changed(), ", "), taskID)
	return err
}
