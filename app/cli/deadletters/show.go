package deadletters

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/deliveries"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

type showCmd struct {
	ID     string `arg:"" help:"Id of the dead letter, or its beginning."`
	Raw    bool   `help:"Print the exact bytes of the message instead. They may hold codes and addresses." xor:"form"`
	Reveal bool   `help:"Print the values of the arguments, too. It needs DEAD_LETTER_KEY."`
	JSON   bool   `name:"json" help:"Print a JSON array." xor:"form"`
}

// Help is the long help of the command.
func (showCmd) Help() string {
	return `Shows why the message was set aside and what to do, whose mail it is (masked
address, ids of the user and the booking), the names and types of its arguments,
and its history if there is one. Values are shown with --reveal only, on a
machine that has DEAD_LETTER_KEY, and the audit trail notes that.

Examples:

    ` + term.ProgramName + ` dead-letters show <id>
    ` + term.ProgramName + ` dead-letters show --reveal <id>
    ` + term.ProgramName + ` dead-letters show --raw <id> > message.json`
}

// view is what is shown of a dead letter.
type view struct {
	desk.Item
	Origin  string `json:"origin,omitempty"`
	Retries int    `json:"retries"`
	Args    string `json:"args,omitempty"` // shape
	Kwargs  string `json:"kwargs,omitempty"`

	Values  *values          `json:"values,omitempty"`
	History []ledger.History `json:"history,omitempty"`
}

// values are the arguments of a message.
type values struct {
	Args   protocol.Raw `json:"args"`
	Kwargs protocol.Raw `json:"kwargs"`
}

// Run prints the dead letter.
func (c showCmd) Run(ctx context.Context, t term.Terminal) error {
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
	if c.Raw || c.Reveal {
		if err := desk.Readable(&l); err != nil {
			return err
		}
		action := app.Action{Name: "dead-letters.reveal", Subjects: []string{l.ID}, Details: map[string]any{"raw": c.Raw, "task_id": l.TaskID}}
		return app.Audit(ctx, b.cfg, action, func(ctx context.Context) (map[string]any, error) { return nil, c.print(ctx, t, b, l) })
	}
	return c.print(ctx, t, b, l)
}

// errNoKey refuses values without a key.
var errNoKey = &app.UsageError{
	Err:  errors.New("--reveal needs DEAD_LETTER_KEY"),
	Hint: "set DEAD_LETTER_KEY to the key of the workers; without one the values of dead letters are not shown",
}

// mayReveal reports whether values may be shown on this machine.
func (b *box) mayReveal() bool { return len(b.cfg.Redis.DeadLetterKeys) > 0 }

// print prints the letter in the form that was asked for.
func (c showCmd) print(ctx context.Context, t term.Terminal, b *box, l broker.DeadLetter) error {
	if c.Raw {
		_, err := t.Out.Write(l.Raw)
		return err
	}
	v := describe(l, c.Reveal)
	var err error
	if v.History, err = b.history(ctx, &l); err == nil {
		v.addRecipient()
	}
	if c.JSON {
		return term.PrintJSON(t.Out, []view{v})
	}
	_, werr := io.WriteString(t.Out, v.text(term.ParagraphWidth(t), err))
	return werr
}

// describe reads what may be shown. reveal adds the values.
func describe(l broker.DeadLetter, reveal bool) view {
	v := view{Item: desk.New(l)}
	if l.Raw == nil {
		return v
	}
	m, err := desk.Decode(l.Raw)
	if err != nil {
		v.Unreadable = err.Error()
		return v
	}
	v.Origin, v.Retries = m.Origin, m.Retries
	v.Args, v.Kwargs = desk.Shape(m.Args), desk.Shape(m.Kwargs)
	if reveal {
		v.Values = &values{Args: m.Args, Kwargs: m.Kwargs}
	}
	return v
}

// history returns the history of the mail of a letter, and of its edited copy.
func (b *box) history(ctx context.Context, l *broker.DeadLetter) ([]ledger.History, error) {
	if b.cfg.Ledger.Off || l.TaskID == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	d, err := app.OpenDeliveries(b.cfg)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	all, err := d.Show(ctx, l.TaskID)
	if err == nil && l.ReplacedBy != "" {
		var more []ledger.History
		more, err = d.Show(ctx, l.ReplacedBy)
		all = append(more, all...)
	}
	for i := range all {
		all[i].Address = ""
	}
	return all, err
}

// addRecipient adds the masked address of a user, which only the history knows.
func (v *view) addRecipient() {
	for _, h := range v.History {
		if v.To == "" && h.TaskID == v.TaskID {
			v.To, v.Domain = h.To, h.Domain
			if v.UserID == nil {
				v.UserID = h.UserID
			}
			if v.Booking == "" {
				v.Booking = h.Booking
			}
		}
	}
}

// text returns the letter for people. err is why the history cannot be read.
func (v *view) text(width int, err error) string {
	var b strings.Builder
	fact := func(name, text string) {
		if text != "" {
			const indent = "            "
			b.WriteString(term.Fold(fmt.Sprintf("%-*s%s", len(indent), name, text), width, indent) + "\n")
		}
	}
	fact("id", v.ID)
	fact("state", v.stateText())
	fact("note", optionalLine(v.Note))
	fact("reason", term.Line(v.Reason))
	if v.State == broker.LetterOpen {
		fact("what to do", v.advice())
	}
	fact("mail", v.about())
	fact("fault", optionalLine(v.Fault))
	fact("task", term.Line(v.TaskName))
	fact("task id", term.Line(v.TaskID))
	fact("queue", term.Line(v.Queue))
	fact("set aside", fmt.Sprintf("%s (%s ago)", term.Clock(v.At), term.Age(v.At)))
	if !v.ExpiresAt.IsZero() {
		fact("expires", term.Clock(v.ExpiresAt)+", "+term.Until(v.ExpiresAt))
	}
	fact("replaces", optionalLine(v.Replaces))
	fact("replaced by", optionalLine(v.ReplacedBy))
	size := fmt.Sprintf("%d bytes", v.Size)
	if v.Encrypted {
		size += ", encrypted"
	}
	fact("size", size)
	if v.Unreadable != "" {
		fact("message", term.Line(v.Unreadable))
	}
	if v.Args != "" {
		fact("origin", term.Line(v.Origin))
		fact("retries", fmt.Sprint(v.Retries))
		fact("args", v.Args)
		fact("kwargs", v.Kwargs)
	}
	if v.Values != nil {
		b.WriteString("\n" + visible(v.Values.Args) + "\n" + visible(v.Values.Kwargs) + "\n")
	}
	for _, h := range v.History {
		b.WriteString("\n" + deliveries.Timeline(h, width))
	}
	if err != nil {
		b.WriteString("\n" + term.Fold("The history of mails cannot be read: "+term.Line(err.Error()), width, "") + "\n")
	}
	return b.String()
}

func optionalLine(text string) string {
	if text == "" {
		return ""
	}
	return term.Line(text)
}

// stateText tells the state, and since when and by whom.
func (v *view) stateText() string {
	text := v.State.String()
	if !v.StateAt.IsZero() {
		text += " since " + term.Clock(v.StateAt)
	}
	if v.By != "" {
		text += ", by " + term.Line(v.By)
	}
	return text
}

// advice tells what to do about the letter.
func (v *view) advice() string {
	if v.Expired(time.Now()) {
		return "it is of no use any more: resolve or delete it"
	}
	return v.Advice
}

// about names the mail and its recipient.
func (v *view) about() string {
	if v.Kind == "" {
		return ""
	}
	text := v.Kind
	if who := whose(&v.Item); who != "-" {
		text += " to " + who
	}
	return text
}

// visible returns JSON for a terminal, with escapes for all that is not printable.
func visible(raw protocol.Raw) string {
	var indented bytes.Buffer
	if json.Indent(&indented, raw, "", "  ") != nil {
		return "(not JSON)"
	}
	var b strings.Builder
	for _, r := range indented.String() {
		if r != '\n' && !unicode.IsPrint(r) {
			if r > 0xffff {
				fmt.Fprintf(&b, `\U%08x`, r)
			} else {
				fmt.Fprintf(&b, `\u%04x`, r)
			}
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
