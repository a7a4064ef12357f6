package config

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/evently/workers/internal/secretfile"
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

// fileSuffix ends the names of the variables that name the file of a secret.
const fileSuffix = "_FILE"

// SourceFile is the name of secrets from files in the report.
const SourceFile = "file"

// FileVariable returns the variable that may name a file with the value of a secret variable,
// "" if the variable is no secret.
func FileVariable(variable string) string {
	var v variables
	for _, f := range v.fields() {
		if f.base().name == variable && takesFile(f) {
			return variable + fileSuffix
		}
	}
	return ""
}

// takesFile reports whether the value may be in a file: that of every variable with a secret.
// MONITOR_USERS_FILE has more users, and not those of MONITOR_USERS.
func takesFile(f field) bool {
	_, isSecret := f.(revealer)
	return isSecret && f.base().name != "MONITOR_USERS" && f.base().name != "ZERO_URL"
}

// secretPath returns the path of the file of a secret, "" if none is set.
func secretPath(f field, environ Lookup) string {
	if !takesFile(f) {
		return ""
	}
	text, ok := environ(f.base().name + fileSuffix)
	if !ok || blank(text) {
		return ""
	}
	path, _ := clean(text, plain)
	return path
}

// readFile takes the value of f from a file, or from the source of that name among more. both
// tells that the variable itself is set as well.
func readFile(f field, path string, both bool, more []Source) {
	s := f.base()
	s.file, s.source, s.note = path, SourceFile, ""
	text, err := "", error(nil)
	known := false
	for _, source := range more {
		if source.Name == SourceFile && !known {
			text, known = source.Lookup(s.name)
		}
	}
	if !known {
		text, err = secretfile.Read(path)
	}
	_ = f.Decode("") // no value of the environment
	switch {
	case both:
		s.mistake(s.name+" is set as well", "set one of them")
	case err != nil:
		s.mistake(fmt.Sprintf("%s cannot be used: %v", path, err), "name a file with the secret alone in it, which the user of the worker may read")
	default:
		s.raw = NewSecret(text)
		decodeFile(f, text)
	}
}

// decodeFile decodes the content of a file. All of it but the line break at its end belongs to a
// password: nothing had to quote it.
func decodeFile(f field, text string) {
	one, ok := f.(*secret)
	if !ok {
		_ = f.Decode(text) // it keeps its mistake
		return
	}
	one.value = NewSecret(text)
	one.text = one.value.String()
	switch {
	case strings.Contains(text, "\x00"):
		one.mistake("the file is no text", "write the secret alone into it")
	case strings.ContainsAny(text, "\r\n"):
		one.mistake("the file has more than one line", "write the secret alone into it")
	}
}

// Login is a user and a password.
type Login struct{ Username, Password string }

// Logins gives the login of each new connection while secrets are replaced. Its methods may be
// called by several goroutines.
type Logins interface {
	// Next returns the login to try. It is called again with the logins that the server has
	// refused for this connection; if there is no other, it returns one of them.
	Next(ctx context.Context, refused []Login) (Login, error)
	// Accepted is called with a login that the server has accepted.
	Accepted(Login)
	// OnChange has f called when connections should log in anew.
	OnChange(f func())
}
