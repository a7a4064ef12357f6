package redact

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// markSecret marks a secret in any case, in its escaped forms, and with any characters between its
// letters and digits. It also marks each run of at least piece letters and digits of the secret.
func (m *marks) markSecret(secret string, piece int) {
	if secret = strings.TrimSpace(secret); secret == "" {
		return
	}
	m.mark(secret)
	for _, form := range escaped(secret) {
		m.mark(form)
	}
	for _, part := range strings.FieldsFunc(secret, notWord) {
		if utf8.RuneCountInString(part) >= piece {
			m.mark(part)
		}
	}
	// The server may repeat 4829 13 as 482913 or as 48-29-13.
	if core := letters(secret); utf8.RuneCountInString(core) >= piece {
		m.markCore(core)
	}
}

// marks records which characters of a text must not be shown.
type marks struct {
	text   string
	runes  []rune
	hide   []bool
	words  []rune // its letters and digits; nil: not computed yet
	places []int  // of the words in runes
}

func newMarks(text string) *marks {
	runes := []rune(text)
	return &marks{text: text, runes: runes, hide: make([]bool, len(runes))}
}

// mark marks every occurrence of part.
func (m *marks) mark(part string) { markAll(m.hide, m.runes, nil, []rune(part)) }

// markCore marks every occurrence of core, with any characters but letters and digits between
// its own.
func (m *marks) markCore(core string) {
	if m.words == nil {
		for i, r := range m.runes {
			if !notWord(r) {
				m.words, m.places = append(m.words, r), append(m.places, i)
			}
		}
	}
	markAll(m.hide, m.words, m.places, []rune(core))
}

// masked returns the text with [Mask] instead of each run of marked characters.
func (m *marks) masked() string {
	bytes := make([]bool, 0, len(m.text))
	for i, r := range m.runes {
		for range utf8.RuneLen(r) {
			bytes = append(bytes, m.hide[i])
		}
	}
	return maskRuns(m.text, bytes)
}

// markAll marks every occurrence of part in text, from its first to its last character.
// places holds the index in hide of each character of text; nil: the same index.
func markAll(hide []bool, text []rune, places []int, part []rune) {
	for i := 0; i+len(part) <= len(text); i++ {
		if !sameFold(text[i:i+len(part)], part) {
			continue
		}
		from, to := i, i+len(part)-1
		if places != nil {
			from, to = places[from], places[to]
		}
		for j := from; j <= to; j++ {
			hide[j] = true
		}
	}
}

func sameFold(a, b []rune) bool {
	for i := range a {
		if unicode.ToLower(a[i]) != unicode.ToLower(b[i]) {
			return false
		}
	}
	return true
}

func notWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// maskQuoted masks every run of at least [MaxQuoted] octets that text shares with a message.
// It also masks every shared word of at least four characters that contains a digit, such as
// a booking id, and a message shorter than that run.
func maskQuoted(text, message string) string {
	if message == "" || text == "" {
		return text
	}
	if len(message) < MaxQuoted {
		// A message that is no UTF-8 may be a part of a character.
		text = strings.ToValidUTF8(strings.ReplaceAll(text, message, Mask), "")
	}
	var hide []bool // nil: nothing is marked
	mark := func(from, to int) {
		if hide == nil {
			hide = make([]bool, len(text))
		}
		for i := from; i < to; i++ {
			hide[i] = true
		}
	}
	for i := 0; i+MaxQuoted <= len(text); i++ {
		if strings.Contains(message, text[i:i+MaxQuoted]) {
			mark(i, i+MaxQuoted)
		}
	}
	for i := 0; i < len(text); {
		end, digit := i, false
		for end < len(text) && isAlnum(text[end]) {
			digit = digit || text[end] <= '9'
			end++
		}
		if digit && end-i >= 4 && strings.Contains(message, text[i:end]) {
			mark(i, end)
		}
		i = max(end, i+1)
	}
	if hide == nil {
		return text
	}
	return strings.ToValidUTF8(maskRuns(text, hide), "")
}

// maskRuns returns text with [Mask] instead of each run of marked octets.
func maskRuns(text string, hide []bool) string {
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hide[i]:
			b.WriteByte(text[i])
		case i == 0 || !hide[i-1]:
			b.WriteString(Mask)
		}
	}
	return b.String()
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
