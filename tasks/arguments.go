package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker/protocol"
)

// Arguments are the arguments of a mail task, as a person corrects them: the id of the user,
// if the task has one, and the fields of the data. Unknown keys of the data stay.
type Arguments struct {
	task    MailTask
	user    protocol.Raw // nil: none
	data    []protocol.Field
	form    string          // why the given arguments could not be read; "": they could
	touched map[string]bool // keys that were set
}

// FieldError tells which field of the arguments is wrong and what is allowed. It never shows
// the value.
type FieldError struct {
	Field  string
	Reason string // such as "must be a number such as 2"
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// userParam returns the name of the parameter with the id of the user, "" if there is none.
func (m MailTask) userParam() string {
	if m.ToUser() {
		return m.Params[0]
	}
	return ""
}

// Keys returns the names that [Arguments.Set] knows, in the order of the task.
func (m MailTask) Keys() (keys []string) {
	if m.ToUser() {
		keys = append(keys, m.userParam())
	}
	for _, f := range m.Fields {
		keys = append(keys, f.Key)
	}
	return keys
}

// field returns the field with a key.
func (m MailTask) field(key string) (Field, bool) {
	if key != "" && key == m.userParam() {
		return Field{Key: key, Input: Number, Sample: "12", Required: true}, true
	}
	i := slices.IndexFunc(m.Fields, func(f Field) bool { return f.Key == key })
	if i < 0 {
		return Field{}, false
	}
	return m.Fields[i], true
}

// Set changes a field to what a person typed; "" removes it. The error names the fields of
// the task if it has no such one. [Arguments.Faults] checks the value.
func (a *Arguments) Set(key, typed string) error {
	f, ok := a.task.field(key)
	if !ok {
		return a.unknown(key)
	}
	value, err := json.Marshal(f.Value(typed))
	if err != nil {
		return &FieldError{Field: key, Reason: f.allowed()}
	}
	a.put(key, value)
	return nil
}

func (a *Arguments) unknown(key string) error {
	return &FieldError{Field: key, Reason: fmt.Sprintf("is not a field of %s; its fields are %s", a.task.Name, strings.Join(a.task.Keys(), ", "))}
}

// put sets a key, with a dot for a nested dictionary. null removes it.
func (a *Arguments) put(key string, value protocol.Raw) {
	a.touched[key] = true
	if key == a.task.userParam() {
		a.user = value
		return
	}
	a.data = withField(a.data, strings.Split(key, "."), value)
}

// withField returns fields with a new value at a path.
func withField(fields []protocol.Field, path []string, value protocol.Raw) []protocol.Field {
	var inner []protocol.Field
	fields = slices.DeleteFunc(slices.Clone(fields), func(f protocol.Field) bool {
		if f.Name == path[0] {
			inner, _ = f.Value.Fields()
		}
		return f.Name == path[0]
	})
	if len(path) > 1 {
		value = encodeFields(withField(inner, path[1:], value))
	}
	if value.IsNull() {
		return fields
	}
	return append(fields, protocol.Field{Name: path[0], Value: value})
}

// encodeFields writes an object.
func encodeFields(fields []protocol.Field) protocol.Raw {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteString(", ")
		}
		name, _ := json.Marshal(f.Name) // a text always encodes
		b.Write(name)
		b.WriteString(": ")
		b.Write(bytes.TrimSpace(f.Value))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// Encode returns the positional and the keyword arguments of a message.
func (a *Arguments) Encode() (args, kwargs protocol.Raw) {
	var b bytes.Buffer
	b.WriteByte('[')
	if a.task.ToUser() {
		user := a.user
		if len(bytes.TrimSpace(user)) == 0 {
			user = protocol.Raw("null")
		}
		b.Write(bytes.TrimSpace(user))
		b.WriteString(", ")
	}
	b.Write(encodeFields(a.data))
	b.WriteByte(']')
	return b.Bytes(), protocol.Raw("{}")
}

// dictionary returns the data as the task reads it.
func (a *Arguments) dictionary() *dictionary {
	d, err := readDictionary("data", encodeFields(a.data))
	if err != nil {
		return &dictionary{}
	}
	return d
}

// Faults returns what is wrong with the arguments: required fields that are missing, values
// that no mail can be made of, and values that were set here and that the mail would leave
// out. Each error is a [*FieldError].
func (a *Arguments) Faults() (faults []error) {
	d := a.dictionary()
	bad := map[string]bool{}
	for range a.task.Fields { // read stops at the first fault
		d.err, d.leftOut = nil, nil
		read := a.task.read(d)
		for _, key := range d.leftOut {
			if key = a.task.wholeKey(key); a.touched[key] {
				bad[key] = true
			}
		}
		fault, ok := errors.AsType[*dataError](d.err)
		if !ok {
			a.checkAddress(read.address, bad)
			break
		}
		bad[fault.key] = true
		delete(d.values, fault.key)
	}
	for _, key := range a.task.Keys() {
		f, _ := a.task.field(key)
		switch {
		case key == a.task.userParam():
			if n, ok := integer(a.user); !ok || a.touched[key] && n < 1 {
				faults = append(faults, &FieldError{Field: key, Reason: f.allowed()})
			}
		case f.Required && !d.has(key) && !bad[key]:
			faults = append(faults, &FieldError{Field: key, Reason: "is missing; it " + f.allowed()})
		case bad[key], a.touched[key] && d.has(key) && !f.accepts(d.values[key]):
			faults = append(faults, &FieldError{Field: key, Reason: f.allowed()})
		}
	}
	return faults
}

// checkAddress notes an address that no mail can be sent to.
func (a *Arguments) checkAddress(address string, bad map[string]bool) {
	if a.task.ToUser() || address == "" {
		return
	}
	if _, err := mail.ParseAddress(address); err != nil {
		for _, f := range a.task.Fields {
			if f.Input == Email {
				bad[f.Key] = true
			}
		}
	}
}

// wholeKey completes a key of a nested dictionary.
func (m MailTask) wholeKey(key string) string {
	for _, f := range m.Fields {
		if f.Key == key || strings.HasSuffix(f.Key, "."+key) {
			return f.Key
		}
	}
	return key
}

// accepts reports whether a value that a person sets makes sense beyond what the mail needs.
func (f Field) accepts(value protocol.Raw) bool {
	text, _ := scalar(value)
	text = strings.TrimSpace(text)
	switch f.Input {
	case URL:
		u, err := url.Parse(text)
		return err == nil && u.Scheme == "https" && u.Host != ""
	case Number:
		return !strings.HasPrefix(text, "-")
	}
	return true
}

// allowed tells what the value of the field must be.
func (f Field) allowed() string {
	switch f.Input {
	case Email:
		return "must be an address such as " + f.Sample
	case Code:
		return "must be " + validCode
	case Number:
		return "must be a number such as " + f.Sample
	case Date:
		return "must be a day or a time such as " + f.Sample
	case URL:
		return "must be an https address such as " + f.Sample
	case Null:
		return "must be empty, the mail does not use it"
	}
	return fmt.Sprintf("must be a text such as %q", f.Sample)
}

// Unchanged is the value in a form of a field that keeps its value.
const Unchanged = "(unchanged)"

// Form returns the arguments as indented JSON for a person to edit: an object with the
// parameters of the task. Without values each value that is there is [Unchanged].
func (a *Arguments) Form(values bool) ([]byte, error) {
	form := make([]protocol.Field, 0, len(a.task.Params))
	show := func(value protocol.Raw, there bool) protocol.Raw {
		switch {
		case !there:
			return protocol.Raw("null")
		case !values:
			return protocol.Raw(`"` + Unchanged + `"`)
		}
		return value
	}
	if param := a.task.userParam(); param != "" {
		form = append(form, protocol.Field{Name: param, Value: show(a.user, len(a.user) > 0)})
	}
	var data []protocol.Field
	for _, f := range a.task.Fields {
		path := strings.Split(f.Key, ".")
		value := valueAt(a.data, path)
		data = withNull(data, path, show(value, len(value) > 0))
	}
	form = append(form, protocol.Field{Name: a.task.Params[len(a.task.Params)-1], Value: encodeFields(data)})
	var b bytes.Buffer
	if err := json.Indent(&b, encodeFields(form), "", "  "); err != nil {
		return nil, fmt.Errorf("write the arguments as JSON: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// withNull is withField for a form, which shows fields without a value as null.
func withNull(fields []protocol.Field, path []string, value protocol.Raw) []protocol.Field {
	if len(path) == 1 {
		return append(fields, protocol.Field{Name: path[0], Value: value})
	}
	for i, f := range fields {
		if f.Name == path[0] {
			inner, _ := f.Value.Fields()
			fields[i].Value = encodeFields(withNull(inner, path[1:], value))
			return fields
		}
	}
	return append(fields, protocol.Field{Name: path[0], Value: encodeFields(withNull(nil, path[1:], value))})
}

// valueAt returns the value at a path, nil without one.
func valueAt(fields []protocol.Field, path []string) (value protocol.Raw) {
	for _, f := range fields {
		if f.Name != path[0] {
			continue
		}
		value = f.Value
		if len(path) > 1 {
			inner, _ := f.Value.Fields()
			value = valueAt(inner, path[1:])
		}
	}
	if value.IsNull() {
		return nil
	}
	return value
}

// Fill changes the arguments to those of a form, which [Arguments.Form] has made or a person
// has written. A field that is [Unchanged] or not in the form keeps its value, and null
// removes it. The error names all fields that the task does not have.
func (a *Arguments) Fill(form []byte) error {
	if !json.Valid(form) {
		var v any
		return fmt.Errorf("the form is not JSON: %w", json.Unmarshal(form, &v))
	}
	params, err := protocol.Raw(form).Fields()
	if err != nil {
		return fmt.Errorf("the form must be a JSON object with %s", strings.Join(a.task.Params, " and "))
	}
	var faults []error
	for _, p := range params {
		switch last := a.task.Params[len(a.task.Params)-1]; p.Name {
		case last:
			if _, err := p.Value.Fields(); err != nil {
				faults = append(faults, &FieldError{Field: last, Reason: "must be an object with the fields " + strings.Join(a.task.Keys(), ", ")})
				continue
			}
			faults = append(faults, a.fill("", p.Value)...)
		case a.task.userParam():
			a.fillValue(p.Name, p.Value)
		default:
			faults = append(faults, &FieldError{Field: p.Name, Reason: fmt.Sprintf("is not a parameter of %s; the form has %s", a.task.Name, strings.Join(a.task.Params, " and "))})
		}
	}
	return errors.Join(faults...)
}

// fill takes the fields of an object whose path is prefix.
func (a *Arguments) fill(prefix string, object protocol.Raw) (faults []error) {
	fields, _ := object.Fields()
	for _, f := range fields {
		key := prefix + f.Name
		_, known := a.task.field(key)
		nested := slices.ContainsFunc(a.task.Fields, func(f Field) bool { return strings.HasPrefix(f.Key, key+".") })
		switch {
		case known && key != a.task.userParam():
			a.fillValue(key, f.Value)
		case nested && shape(f.Value) == '{':
			faults = append(faults, a.fill(key+".", f.Value)...)
		case nested && f.Value.IsNull():
		case valueAt(a.data, strings.Split(key, ".")) != nil && isUnchanged(f.Value):
		default:
			faults = append(faults, a.unknown(key))
		}
	}
	return faults
}

func (a *Arguments) fillValue(key string, value protocol.Raw) {
	if isUnchanged(value) {
		return
	}
	a.put(key, bytes.Clone(value))
}

func isUnchanged(value protocol.Raw) bool {
	text, ok := scalar(value)
	return ok && text == Unchanged
}

// Changed returns the keys that were set, sorted.
func (a *Arguments) Changed() (keys []string) {
	for _, key := range a.task.Keys() {
		if a.touched[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// Copy returns a copy of the arguments, which can be changed without them.
func (a *Arguments) Copy() *Arguments {
	c := *a
	c.data, c.touched = slices.Clone(a.data), maps.Clone(a.touched)
	return &c
}
