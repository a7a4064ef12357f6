// Package bind puts the arguments of a message into a struct.
package bind

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/evently/workers/worker/protocol"
)

// parameter is one exported field of an argument struct.
type parameter struct {
	index    int
	name     string
	optional bool
}

func parameters(t reflect.Type) ([]parameter, error) {
	var ps []parameter
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("celery"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		if opts != "" && opts != "optional" {
			return nil, fmt.Errorf("field %s: tag option %q is not known, only \"optional\" is", f.Name, opts)
		}
		ps = append(ps, parameter{index: i, name: name, optional: opts == "optional"})
	}
	return ps, nil
}

// Faults returns why no arguments could ever be put into a value of type t, and what to
// write instead.
func Faults(t reflect.Type) (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct {
		fault("argument type %v is a pointer: take %v", t, t.Elem())
		return faults
	}
	if t.Kind() != reflect.Struct {
		fault("argument type %v is not a struct: take one whose fields are the parameters, such as struct{ Value %v }", t, t)
		return faults
	}
	names := map[string]string{}
	shown, hidden := 0, 0
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.IsExported():
			shown++
			faults = append(faults, parameterFaults(f, names)...)
		case f.Name != "_":
			hidden++
			faults = append(faults, hiddenFaults(f)...)
		}
	}
	if shown == 0 && hidden > 0 && len(faults) == 0 {
		fault("argument type %v has no exported fields: export the parameters, or take struct{}", t)
	}
	return faults
}

// parameterFaults checks an exported field; names are the parameters before it, with
// the names of their fields.
func parameterFaults(f reflect.StructField, names map[string]string) (faults []error) {
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("field %s: "+format, append([]any{f.Name}, args...)...))
	}
	tag, ok := f.Tag.Lookup("celery")
	if !ok && strings.Contains(string(f.Tag), "celery") {
		fault("its tag %q is not in Go's form: write `celery:\"name\"`", string(f.Tag))
	}
	name, opts, _ := strings.Cut(tag, ",")
	if name == "-" {
		return faults
	}
	name = cmp.Or(name, strings.ToLower(f.Name))
	if opts != "" && opts != "optional" {
		fault("tag option %q is not known, only \"optional\" is", opts)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		fault("its name %q has a space in it: no keyword argument has", name)
	}
	if other, twice := names[name]; twice {
		fault("its name is %q, as that of field %s: give it another one by the tag `celery:\"other\"`", name, other)
	}
	names[name] = f.Name
	for _, bad := range protocol.UnmarshalFaults(f.Type) {
		fault("%w: take a type that JSON has, or leave it out by the tag `celery:\"-\"` (inside of a struct by `json:\"-\"`)", bad)
	}
	return faults
}

// hiddenFaults checks a field that is not exported: it is no parameter, and must not
// look like one.
func hiddenFaults(f reflect.StructField) (faults []error) {
	if tag := f.Tag.Get("celery"); tag != "" && tag != "-" {
		faults = append(faults, fmt.Errorf("field %s: it has the tag `celery:%q` but is not exported: begin its name with a capital letter", f.Name, tag))
	}
	inner := f.Type
	if inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	if !f.Anonymous || inner.Kind() != reflect.Struct {
		return faults
	}
	for i := range inner.NumField() {
		if inner.Field(i).IsExported() {
			return append(faults, fmt.Errorf("field %s: the fields of an embedded struct are no parameters: write them out", f.Name))
		}
	}
	return faults
}

// TypeError is the error of arguments that do not fit: Python's exception of a wrong call.
type TypeError struct {
	Text string
	Err  error // cause, which may quote values; nil for none
}

func (e *TypeError) Error() string { return e.Text }

func (e *TypeError) Unwrap() error { return e.Err }

func typeError(format string, args ...any) error {
	return &TypeError{Text: fmt.Sprintf(format, args...)}
}

// Names returns the names of the parameters of a struct type, nil when it has none.
func Names(t reflect.Type) (names []string) {
	if t.Kind() != reflect.Struct {
		return nil
	}
	ps, err := parameters(t)
	if err != nil {
		return nil
	}
	for _, p := range ps {
		names = append(names, p.name)
	}
	return names
}

// keyword takes one keyword argument; so many arguments are positional.
func keyword(task string, ps []parameter, positional int, values []protocol.Raw, k protocol.Field) error {
	for i, p := range ps {
		if p.name != k.Name {
			continue
		}
		if i < positional {
			return typeError("%s() got multiple values for argument '%s'", task, p.name)
		}
		values[i] = k.Value // the last of two equal names, as in Python
		return nil
	}
	// The name is the producer's text: an unknown keyword is not quoted.
	return typeError("%s() got an unexpected keyword argument", task)
}

// Arguments puts positional and keyword arguments into the struct that dst points to. Its
// errors name parameters, never values: they end in results and logs.
func Arguments(task string, args, kwargs protocol.Raw, dst any) error {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("bind arguments of %s: want a pointer to a struct, got %T", task, dst)
	}
	v = v.Elem()
	ps, err := parameters(v.Type())
	if err != nil {
		return fmt.Errorf("bind arguments of %s: %w", task, err)
	}

	values, positional := make([]protocol.Raw, len(ps)), 0
	err = args.EachElement(func(v protocol.Raw) bool {
		if positional < len(ps) {
			values[positional] = v
		}
		positional++
		return true
	})
	if err != nil {
		return typeError("%s() arguments are not a list", task)
	}
	if positional > len(ps) {
		return typeError("%s() takes %d positional arguments but %d were given", task, len(ps), positional)
	}
	var wrong error
	err = kwargs.EachField(func(k protocol.Field) bool {
		wrong = keyword(task, ps, positional, values, k)
		return wrong == nil
	})
	if err != nil {
		return typeError("%s() keyword arguments are not an object", task)
	}
	if wrong != nil {
		return wrong
	}

	for i, p := range ps {
		if values[i] == nil {
			if p.optional {
				continue
			}
			return typeError("%s() missing required argument: '%s'", task, p.name)
		}
		if err := protocol.Unmarshal(values[i], v.Field(p.index).Addr().Interface()); err != nil {
			return &TypeError{Text: fmt.Sprintf("%s() argument '%s' is not of the type that the task takes", task, p.name), Err: err}
		}
	}
	return nil
}
