package protocol

import (
	"reflect"
	"slices"
	"strings"
)

// field is one member of the JSON object that a struct stands for, by the rules
// of encoding/json.
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

// structFields lists the fields of t. Fields of an embedded struct belong to
// the outer object; of equal names the one that is least deep counts, then the
// one with a tag, and when that leaves several none does.
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
