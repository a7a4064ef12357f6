package worker

import (
	"fmt"
	"reflect"
	"strings"

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

// bind puts positional and keyword arguments into the struct that dst points
// to. Errors name parameters, never values: they end in results and logs.
func bind(task string, args, kwargs protocol.Raw, dst any) error {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("bind arguments of %s: want a pointer to a struct, got %T", task, dst)
	}
	v = v.Elem()
	ps, err := parameters(v.Type())
	if err != nil {
		return fmt.Errorf("bind arguments of %s: %w", task, err)
	}

	positional, err := args.Elements()
	if err != nil {
		return TypeError("%s() arguments are not a list", task)
	}
	if len(positional) > len(ps) {
		return TypeError("%s() takes %d positional arguments but %d were given", task, len(ps), len(positional))
	}
	values := make([]protocol.Raw, len(ps))
	copy(values, positional)

	keywords, err := kwargs.Fields()
	if err != nil {
		return TypeError("%s() keyword arguments are not an object", task)
	}
keywords:
	for _, k := range keywords {
		for i, p := range ps {
			if p.name != k.Name {
				continue
			}
			if i < len(positional) {
				return TypeError("%s() got multiple values for argument '%s'", task, p.name)
			}
			values[i] = k.Value // the last of two equal names, as in Python
			continue keywords
		}
		// The name is the producer's text: an unknown keyword is not quoted.
		return TypeError("%s() got an unexpected keyword argument", task)
	}

	for i, p := range ps {
		if values[i] == nil {
			if p.optional {
				continue
			}
			return TypeError("%s() missing required argument: '%s'", task, p.name)
		}
		if err := protocol.Unmarshal(values[i], v.Field(p.index).Addr().Interface()); err != nil {
			return &Exception{Type: "TypeError", Args: []any{
				fmt.Sprintf("%s() argument '%s' is not of the type that the task takes", task, p.name)}, Err: err}
		}
	}
	return nil
}
