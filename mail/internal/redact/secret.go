package redact

import (
	"encoding/base64"
	"html"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// minSecret is the length of the shortest secret that is removed from words about another
// subject. Shorter ones are parts of ordinary words, and masking those would reveal the
// secret.
const minSecret = 4

// Secret is one secret with the forms in which software repeats it. It holds them prepared,
// because most replies contain no secret and are searched quickly.
type Secret struct {
	forms []string // in lower case
	core  string   // its letters and digits, found with any characters between them; "": not searched
}

// NewSecret prepares a secret. It reports false if the secret is too short to be searched.
func NewSecret(text string) (s Secret, ok bool) {
	text = strings.TrimSpace(text)
	if utf8.RuneCountInString(text) < minSecret {
		return Secret{}, false
	}
	for _, form := range escaped(text) {
		s.add(form)
	}
	s.add(text)
	if core := letters(text); utf8.RuneCountInString(core) >= minSecret {
		s.core = core
	}
	return s, true
}

func (s *Secret) add(form string) {
	if form = strings.ToLower(form); !slices.Contains(s.forms, form) {
		s.forms = append(s.forms, form)
	}
}

// isIn reports whether a text contains the secret. lower is the text in lower case, and core
// its letters and digits.
func (s *Secret) isIn(lower, core string) bool {
	return s.core != "" && strings.Contains(core, s.core) ||
		slices.ContainsFunc(s.forms, func(form string) bool { return strings.Contains(lower, form) })
}

func (s *Secret) mask(text string) string {
	m := newMarks(text)
	for _, form := range s.forms {
		m.mark(form)
	}
	if s.core != "" {
		m.markCore(s.core)
	}
	return m.masked()
}

func maskSecrets(text string, secrets []Secret) string {
	if len(secrets) == 0 || text == "" {
		return text
	}
	lower, core := strings.ToLower(text), letters(text)
	for i := range secrets {
		if secrets[i].isIn(lower, core) {
			text = secrets[i].mask(text)
		}
	}
	return text
}

// escaped returns the forms in which software escapes text, without text itself.
func escaped(text string) (forms []string) {
	for _, form := range []string{
		url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text), base64.StdEncoding.EncodeToString([]byte(text)),
	} {
		if form != text {
			forms = append(forms, form)
		}
	}
	return forms
}

// letters returns the letters and digits of text, in lower case.
func letters(text string) string {
	return strings.Map(func(r rune) rune {
		if notWord(r) {
			return -1
		}
		return r
	}, strings.ToLower(text))
}
