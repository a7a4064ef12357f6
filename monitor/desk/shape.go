package desk

import (
	"strings"
	"unicode"

	"github.com/evently/workers/worker/protocol"
)

// Shape describes a value by its types, as in [{"email": string}].
func Shape(r protocol.Raw) string { return shape(r, 0) }

func shape(r protocol.Raw, depth int) string {
	const deepest, most = 4, 20
	text := strings.TrimSpace(string(r))
	if text == "" {
		return "nothing"
	}
	var parts []string
	switch text[0] {
	case '[':
		elements, err := r.Elements()
		if err != nil || depth == deepest && len(elements) > 0 {
			return "[…]"
		}
		for i, e := range elements {
			if i == most {
				parts = append(parts, "…")
				break
			}
			parts = append(parts, shape(e, depth+1))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case '{':
		fields, err := r.Fields()
		if err != nil || depth == deepest && len(fields) > 0 {
			return "{…}"
		}
		for i, f := range fields {
			if i == most {
				parts = append(parts, "…")
				break
			}
			parts = append(parts, fieldName(f.Name)+": "+shape(f.Value, depth+1))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// fieldName shows names as programs have them. Any other name may be data.
func fieldName(name string) string {
	const most = 40
	if name == "" || len(name) > most || unicode.IsDigit(rune(name[0])) {
		return "(name)"
	}
	for _, r := range name {
		if r != '_' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			return "(name)"
		}
	}
	return `"` + name + `"`
}
