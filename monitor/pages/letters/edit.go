package letters

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// editView is the page with the form of an edited copy.
type editView struct {
	Head    web.Head
	Action  string
	Problem string
	Faults  []string // that belong to no field
	Fields  []fieldView
	JSON    string
	ByJSON  bool // the JSON form was sent
	Note    string
	Cancel  string

	MayReveal bool
	Revealed  bool
	Ticket    string
	Reveal    string
}

// fieldView is a field of the form.
type fieldView struct {
	Key, Name, Label, Hint string
	Remove                 string // name of the box that removes the value
	Input                  string // type of the element
	Value                  string
	Placeholder            string
	There                  bool // the message has a value
	Removable              bool
	Removed                bool
	Required               bool
	Fault                  string
}

// fieldName and removeName are the names of the inputs of a field.
func fieldName(key string) string  { return "f." + key }
func removeName(key string) string { return "x." + key }

// editing is a letter that is being edited.
type editing struct {
	letter  broker.DeadLetter
	message *protocol.Message
	task    tasks.MailTask
	args    *tasks.Arguments
}

func (g *Group) editing(ctx context.Context, r *web.Request) (*editing, error) {
	l, err := g.letter(ctx, r)
	if err != nil {
		return nil, err
	}
	e := &editing{letter: l}
	if e.message, e.args, err = desk.Editable(&l); err != nil {
		return nil, web.Missing("This letter cannot be edited", sentence(err.Error()))
	}
	e.task, _ = tasks.MailTaskOf(e.message.Task)
	return e, nil
}

func (g *Group) loadEdit(ctx context.Context, r *web.Request) (web.View, error) {
	e, err := g.editing(ctx, r)
	if err != nil {
		return web.View{}, err
	}
	it := desk.New(e.letter)
	ticket := r.FormValue("values")
	v := &editView{
		Head: web.Head{
			Title: "Edit a copy", Back: &web.Link{Text: "Dead letter", Href: letterPath(e.letter.ID)}, Chips: []web.Chip{{Text: kindOf(&it), Tone: web.Calm}},
			Lead: line(it.Reason),
		},
		Action: letterPath(e.letter.ID, "edit"), Cancel: letterPath(e.letter.ID), Reveal: letterPath(e.letter.ID, "reveal"),
		MayReveal: g.cfg.MayReveal, Revealed: g.shows(r, ticket, e.letter.ID), Note: formNote(r),
	}
	if v.Revealed {
		v.Ticket = ticket
	}
	form, err := e.args.Form(v.Revealed)
	if err != nil {
		return web.View{}, err
	}
	v.JSON = string(form)
	faults := map[string]string{}
	if r.Problem != "" {
		v.Problem = r.Problem
		faults = v.refused(e, r.PostForm)
	}
	for _, f := range e.task.Inputs() {
		if f.Input == tasks.Null {
			continue
		}
		v.Fields = append(v.Fields, v.field(e, f, faults[f.Key], r))
	}
	return web.View{Title: "Edit a copy of a dead letter", Data: v}, nil
}

// refused reads a form that was refused again, and returns its faults by field.
func (v *editView) refused(e *editing, form url.Values) map[string]string {
	v.ByJSON = form.Get("by") == "json"
	if v.ByJSON {
		v.JSON = form.Get("json")
	}
	faults := map[string]string{}
	for _, fault := range apply(e.args.Copy(), e.task, form, v.Revealed) {
		if f, ok := errors.AsType[*tasks.FieldError](fault); ok && knows(e.task, f.Field) {
			if faults[f.Field] == "" {
				faults[f.Field] = sentence(f.Reason)
			}
			continue
		}
		v.Faults = append(v.Faults, line(fault.Error()))
	}
	return faults
}

func knows(task tasks.MailTask, key string) bool {
	for _, f := range task.Inputs() {
		if f.Key == key {
			return true
		}
	}
	return false
}

// field returns a field of the form. Values are in it only after an audited click, or as the
// person has typed them.
func (v *editView) field(e *editing, f tasks.Field, fault string, r *web.Request) fieldView {
	value, there := e.args.Value(f.Key)
	view := fieldView{
		Key: f.Key, Name: fieldName(f.Key), Remove: removeName(f.Key), Label: f.Label, Hint: f.Hint, Input: inputType(f.Input), There: there, Required: f.Required,
		Removable: there && !f.Required, Fault: fault, Placeholder: "such as " + f.Sample,
	}
	if view.Label == "" {
		view.Label = f.Key
	}
	if there {
		view.Placeholder = tasks.Unchanged
	}
	if v.Revealed {
		view.Value = value
	}
	if r.Problem != "" && !v.ByJSON {
		view.Value, view.Removed = r.PostForm.Get(view.Name), r.PostForm.Has(view.Remove)
	}
	return view
}

// inputType returns the type of an input element. Codes and dates are texts: a browser must
// neither remember nor reformat them.
func inputType(i tasks.Input) string {
	switch i {
	case tasks.Email:
		return "email"
	case tasks.URL:
		return "url"
	}
	return "text"
}

// apply changes arguments to what a form says, and returns what is wrong with them.
func apply(args *tasks.Arguments, task tasks.MailTask, form url.Values, revealed bool) (faults []error) {
	if form.Get("by") == "json" {
		if err := args.Fill([]byte(form.Get("json"))); err != nil {
			return flat(err)
		}
		return args.Faults()
	}
	before := args.Copy()
	for _, f := range task.Inputs() {
		typed := form.Get(fieldName(f.Key))
		had, there := before.Value(f.Key)
		switch {
		case form.Has(removeName(f.Key)):
			typed = ""
		case !form.Has(fieldName(f.Key)), typed == had && there, typed == "" && (!revealed || !there):
			continue
		}
		if err := args.Set(f.Key, typed); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return faults
	}
	return args.Faults()
}

// flat returns the errors that were joined.
func flat(err error) []error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	return []error{err}
}

// doEdit sends the edited copy.
func (g *Group) doEdit(ctx context.Context, r *web.Request) (web.Done, error) {
	e, err := g.editing(ctx, r)
	if err != nil {
		return web.Done{}, err
	}
	text, err := note(r)
	if err != nil {
		return web.Done{}, err
	}
	revealed := g.shows(r, r.PostFormValue("values"), e.letter.ID)
	if faults := apply(e.args, e.task, r.PostForm, revealed); len(faults) > 0 {
		return web.Done{}, web.Invalid("The copy cannot be sent like this. Nothing was sent.")
	}
	changed := e.args.Changed()
	if len(changed) == 0 {
		return web.Done{}, web.Invalid("Nothing was changed, so nothing was sent. Retry sends the message as it is.")
	}
	raw, err := desk.Copy(e.message, e.args)
	if err != nil {
		return web.Done{}, err
	}
	taskID, err := g.cfg.Letters.Replace(ctx, e.letter.ID, raw, r.Actor.Name, text)
	if err != nil {
		return web.Done{}, refusal(err)
	}
	g.box.forget()
	details := map[string]string{"fields": strings.Join(changed, " "), "task_id": e.letter.TaskID, "copy": taskID}
	if text != "" {
		details["note"] = mail.MaskAddresses(text)
	}
	return web.Done{
		Location: letterPath(e.letter.ID), Notice: "The copy is in its queue, with another " + strings.Join(changed, ", ") + ".",
		Subjects: []string{e.letter.ID}, Details: details,
	}, nil
}
