package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// masked is what a Secret that is set looks like in any output.
const masked = "***"

// Secret holds a text that must not be seen: a password, or a URL with one in
// it. Every way of printing it gives "***", or "" when it is not set; only
// [Secret.Reveal] gives the text. The zero value is not set.
type Secret struct {
	// A pointer, because fmt calls no methods on the unexported fields of other
	// structs: there it prints an address and not the text.
	text *string
}

// NewSecret returns a Secret that holds text. An empty text is not set.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text itself, "" when not set. Hand it to the connection
// that needs it, and nowhere else.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether there is a text.
func (s Secret) IsSet() bool { return s.text != nil }

// Equal reports whether both hold the same text.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String returns "***", or "" when not set.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return masked
}

// GoString is String for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("config.Secret(%q)", s.String()) }

// Format implements [fmt.Formatter], so that a wrong verb such as %d, for which
// fmt would print the fields, shows no more than %s does.
func (s Secret) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'v' && f.Flag('#'):
		fmt.Fprint(f, s.GoString())
	case verb == 'q':
		fmt.Fprintf(f, "%q", s.String())
	default:
		fmt.Fprint(f, s.String())
	}
}

// MarshalJSON writes what String returns.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText writes what String returns.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is what [log/slog] prints.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
