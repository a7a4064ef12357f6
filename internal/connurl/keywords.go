package connurl

import (
	"regexp"
	"strings"
	"unicode"
)

var keywordForm = regexp.MustCompile(`^\s*[A-Za-z_]+\s*=`)

// isKeywords reports whether raw is a connection string such as "host=db port=5432".
func isKeywords(raw string) bool {
	return keywordForm.MatchString(raw) && schemeForm.FindString(raw) == ""
}

var errKeywords = &Fault{"its keywords cannot be read", "write keyword=value pairs with spaces between them, values with spaces in single quotes, or " + PostgresForm}

// parseKeywords reads keyword=value pairs by the rules of libpq: a value in
// single quotes may have spaces, and a backslash takes the next character as it
// is.
func parseKeywords(raw string) (map[string]string, error) {
	params := map[string]string{}
	rest := strings.TrimSpace(raw)
	for rest != "" {
		name, value, ok := strings.Cut(rest, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsFunc(name, unicode.IsSpace) {
			return nil, errKeywords
		}
		if params[name], rest, ok = cutValue(strings.TrimLeftFunc(value, unicode.IsSpace)); !ok {
			return nil, errKeywords
		}
		rest = strings.TrimSpace(rest)
	}
	return params, nil
}

func cutValue(text string) (value, rest string, ok bool) {
	var b strings.Builder
	quoted := strings.HasPrefix(text, "'")
	text = strings.TrimPrefix(text, "'")
	escaped := false
	for i, r := range text {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case quoted && r == '\'':
			rest = text[i+1:]
			return b.String(), rest, rest == "" || unicode.IsSpace([]rune(rest)[0])
		case !quoted && unicode.IsSpace(r):
			return b.String(), text[i:], true
		default:
			b.WriteRune(r)
		}
	}
	return b.String(), "", !quoted && !escaped
}
