package redact

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"net/url"
	"slices"
	"strconv"
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

// markSecrets marks the secrets that are in the text.
func (m *marks) markSecrets(secrets []Secret) {
	if len(secrets) == 0 {
		return
	}
	lower, core := strings.ToLower(m.text), letters(m.text)
	for i := range secrets {
		s := &secrets[i]
		if !s.isIn(lower, core) {
			continue
		}
		for _, form := range s.forms {
			m.mark(form)
		}
		if s.core != "" {
			m.markCore(s.core)
		}
	}
}

// escaped returns the forms in which software escapes text, without text itself. Short forms
// of encodings without a sign of their own are left out, because ordinary words contain them.
func escaped(text string) (forms []string) {
	add := func(shortest int, form string) {
		if form != text && len(form) >= shortest {
			forms = append(forms, form)
		}
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(text))
	for _, form := range []string{url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text), encoded} {
		add(1, form)
	}
	add(minSecret, hex.EncodeToString([]byte(text)))
	for _, form := range [][2]string{{"%", ""}, {"=", ""}, {`\x`, ""}, {"&#x", ";"}} {
		add(1, eachByte(text, 16, form[0], form[1]))
	}
	add(1, eachByte(text, 10, "&#", ";"))
	inBase64 := []string{strings.TrimRight(encoded, "=")}
	for offset := range 3 {
		inBase64 = append(inBase64, partOfBase64(text, offset))
	}
	for _, form := range inBase64 {
		add(minSecret, form)
		if strings.ContainsAny(form, "+/") {
			add(minSecret, strings.NewReplacer("+", "-", "/", "_").Replace(form)) // RFC 4648 section 5
		}
	}
	return forms
}

// eachByte returns text with the number of each byte between two marks.
func eachByte(text string, base int, before, after string) string {
	form := make([]byte, 0, 6*len(text))
	for i := range len(text) {
		form = append(form, before...)
		if base == 16 && text[i] < 16 {
			form = append(form, '0')
		}
		form = append(strconv.AppendUint(form, uint64(text[i]), base), after...)
	}
	return string(form)
}

// partOfBase64 returns the characters of base64 that text alone decides, if offset other bytes
// precede it in a group of three.
func partOfBase64(text string, offset int) string {
	encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), text...))
	return encoded[(offset*8+5)/6 : (offset+len(text))*8/6]
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
