package protocol

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// field is one member of the JSON object of a struct, by the rules of encoding/json.
type field struct {
	name      string
	index     []int
	omitEmpty bool
	omitZero  bool
	quoted    bool // option "string"
	tagged    bool
}

// fieldCache lives as long as one call of Marshal or Unmarshal.
type fieldCache map[reflect.Type][]field

func (c *fieldCache) of(t reflect.Type) []field {
	f, ok := (*c)[t]
	if !ok {
		f = structFields(t)
		if *c == nil { // most values have no struct in them
			*c = fieldCache{}
		}
		(*c)[t] = f
	}
	return f
}

// structFields lists the fields of t. Fields of an embedded struct belong to the outer
// object. Of equal names the least deep one counts, then the one with a tag; if several
// are left, none counts.
func structFields(t reflect.Type) []field {
	type level struct {
		typ   reflect.Type
		index []int
	}
	var all []field
	visited := map[reflect.Type]bool{}
	for todo := []level{{typ: t}}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		if visited[at.typ] {
			continue
		}
		visited[at.typ] = true
		for i := range at.typ.NumField() {
			sf := at.typ.Field(i)
			inner := sf.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			embedded := sf.Anonymous && inner.Kind() == reflect.Struct
			tag := sf.Tag.Get("json")
			if tag == "-" || !sf.IsExported() && !embedded {
				continue
			}
			name, options, _ := strings.Cut(tag, ",")
			index := append(slices.Clone(at.index), i)
			if embedded && name == "" {
				todo = append(todo, level{inner, index})
				continue
			}
			if !sf.IsExported() {
				continue
			}
			all = append(all, field{
				name:      or(name, sf.Name),
				index:     index,
				tagged:    name != "",
				omitEmpty: hasOption(options, "omitempty"),
				omitZero:  hasOption(options, "omitzero"),
				quoted:    hasOption(options, "string") && scalar(inner.Kind()),
			})
		}
	}
	return dominant(all)
}

func dominant(all []field) []field {
	byName := map[string][]field{}
	for _, f := range all {
		byName[f.name] = append(byName[f.name], f)
	}
	var out []field
	for _, same := range byName {
		rank := func(f field) int {
			r := 2 * len(f.index)
			if !f.tagged {
				r++
			}
			return r
		}
		slices.SortStableFunc(same, func(a, b field) int { return rank(a) - rank(b) })
		if len(same) == 1 || rank(same[0]) != rank(same[1]) {
			out = append(out, same[0])
		}
	}
	slices.SortFunc(out, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return out
}

func hasOption(options, name string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == name {
			return true
		}
	}
	return false
}

func scalar(k reflect.Kind) bool {
	return k >= reflect.Bool && k <= reflect.Float64 || k == reflect.String
}

// TypeFault names a part of a Go type that has no form in JSON.
type TypeFault struct {
	Path   string // names of struct fields, "[]" for elements and "*" for keys; "" is the whole
	Type   reflect.Type
	Detail string
}

func (f TypeFault) Error() string {
	s := fmt.Sprintf("%v %s", f.Type, f.Detail)
	if f.Path != "" {
		s = f.Path + ": " + s
	}
	return s
}

// UnmarshalFaults returns the parts of a type that [Unmarshal] cannot set.
func UnmarshalFaults(t reflect.Type) []TypeFault {
	w := typeWalk{reads: true, seen: map[reflect.Type]bool{}}
	w.visit("", t)
	return w.faults
}

// MarshalFaults returns the parts of a type that [Marshal] cannot write. Fields with the
// options omitempty and omitzero are left out.
func MarshalFaults(t reflect.Type) []TypeFault {
	w := typeWalk{seen: map[reflect.Type]bool{}}
	w.visit("", t)
	return w.faults
}

// typeWalk visits all types that a type is made of.
type typeWalk struct {
	reads  bool // for Unmarshal
	seen   map[reflect.Type]bool
	faults []TypeFault
}

func (w *typeWalk) fault(path string, t reflect.Type, detail string) {
	w.faults = append(w.faults, TypeFault{path, t, detail})
}

func (w *typeWalk) visit(path string, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		if w.hasMethods(t) {
			return
		}
		t = t.Elem()
	}
	if w.hasMethods(t) || w.hasMethods(reflect.PointerTo(t)) {
		return
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		w.fault(path, t, "has no form in JSON")
	case reflect.Interface:
		if w.reads && t.NumMethod() > 0 {
			w.fault(path, t, "is an interface with methods: no value can be made for it")
		}
	case reflect.Array, reflect.Slice:
		w.visit(path+"[]", t.Elem())
	case reflect.Map:
		if !w.isKey(t.Key()) {
			w.fault(join(path, "*"), t.Key(), "cannot be the key of an object")
		}
		w.visit(join(path, "*"), t.Elem())
	case reflect.Struct:
		w.structure(path, t)
	}
}

func (w *typeWalk) structure(path string, t reflect.Type) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	for _, f := range structFields(t) {
		if !w.reads && (f.omitEmpty || f.omitZero) {
			continue
		}
		at, ft := path, t
		for i, n := range f.index {
			if ft.Kind() == reflect.Pointer {
				if ft = ft.Elem(); w.reads && i > 0 && !t.FieldByIndex(f.index[:i]).IsExported() {
					w.fault(at, ft, "is embedded as a pointer and not exported")
				}
			}
			sf := ft.Field(n)
			at, ft = join(at, sf.Name), sf.Type
		}
		w.visit(at, ft)
	}
}

func join(path, step string) string {
	if path == "" {
		return step
	}
	return path + "." + step
}

// hasMethods reports whether a type reads or writes itself.
func (w *typeWalk) hasMethods(t reflect.Type) bool {
	if w.reads {
		return t == reflect.TypeFor[*time.Time]() || t.Implements(reflect.TypeFor[json.Unmarshaler]()) || t.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	}
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

func (w *typeWalk) isKey(t reflect.Type) bool {
	switch k := t.Kind(); {
	case k == reflect.String, k >= reflect.Int && k <= reflect.Uintptr:
		return true
	}
	if w.reads {
		return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	}
	return t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
