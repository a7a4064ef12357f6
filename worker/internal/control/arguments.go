package control

import (
	"fmt"
	"strings"

	"github.com/evently/workers/worker/protocol"
)

// typeError returns the TypeError of a wrong call.
func typeError(format string, args ...any) error {
	return &Error{"TypeError", fmt.Sprintf(format, args...)}
}

// arguments holds the arguments of a command by name.
type arguments map[string]protocol.Raw

func parseArguments(raw protocol.Raw) (arguments, error) {
	fields, err := raw.Fields()
	if err != nil {
		return nil, typeError("arguments are not an object")
	}
	args := make(arguments, len(fields))
	for _, f := range fields {
		args[f.Name] = f.Value
	}
	return args, nil
}

// required reads an argument that must be there.
func (a arguments) required(command, name string, v any) error {
	if _, given := a[name]; !given {
		return typeError("%s() missing 1 required positional argument: '%s'", command, name)
	}
	return a.optional(command, name, v)
}

// optional reads an argument; null and absence leave v alone.
func (a arguments) optional(command, name string, v any) error {
	raw := a[name]
	if raw.IsNull() {
		return nil
	}
	if err := protocol.Unmarshal(raw, v); err != nil {
		return typeError("%s() argument '%s' is not of the type that the command takes", command, name)
	}
	return nil
}

// truth reads an argument as Python's "if" does: Flower sends 1 for true.
func (a arguments) truth(name string) bool {
	switch strings.TrimSpace(string(a[name])) {
	case "", "null", "false", "0", "0.0", "-0.0", `""`, "[]", "{}":
		return false
	}
	return true
}

// oneOrMany reads an argument that is a text or a list of texts.
func (a arguments) oneOrMany(command, name string) (texts []string, err error) {
	var one string
	if raw := a[name]; !raw.IsNull() && protocol.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	err = a.required(command, name, &texts)
	return texts, err
}
