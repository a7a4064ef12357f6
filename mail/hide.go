package mail

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxQuoted = 16 // octets that a reply may have in common with the message

	secretPiece = 2 // shortest part of a message's secret that is blanked by itself
	loginPiece  = 4 // the same of a password, as its words may be ordinary ones
)

// hidden is what must not be seen of a server's words.
type hidden struct {
	secrets []string // of the message
	login   []string // password, in the forms in which it is sent
	quoted  []string // the message itself
	process []veil   // secrets of this process that the server was not told
	past    *history // other mails; nil: none
}

func join(all ...hidden) hidden {
	var h hidden
	for _, one := range all {
		h.process = append(h.process, one.process...)
		if one.past != nil {
			h.past = one.past
		}
		h.secrets = append(h.secrets, one.secrets...)
		h.login = append(h.login, one.login...)
		h.quoted = append(h.quoted, one.quoted...)
	}
	return h
}

// loginSecrets returns the forms in which the server might repeat the login.
func (c *Config) loginSecrets() hidden {
	if c.Password == "" {
		return hidden{}
	}
	encode := base64.StdEncoding.EncodeToString
	return hidden{login: []string{
		c.Password,
		encode([]byte(c.Password)),
		encode([]byte("\x00" + c.Username + "\x00" + c.Password)),
	}}
}

// blank replaces all of it that text has.
func (h hidden) blank(text string) string {
	text = strings.ToValidUTF8(text, "")
	for _, secret := range h.secrets {
		text = blankSecret(text, secret, secretPiece)
	}
	for _, secret := range h.login {
		text = blankQuoted(blankSecret(text, secret, loginPiece), secret)
	}
	for _, message := range h.quoted {
		text = blankQuoted(text, message)
	}
	text = blankVeils(text, h.process)
	if h.past != nil {
		text = h.past.blank(text)
	}
	return text
}

// blankSecret replaces a secret, whatever its letters' case and whatever stands
// between its letters and digits, in the forms in which software escapes it, and
// each of its runs of letters and digits from a length of piece on.
func blankSecret(text, secret string, piece int) string {
	secret = strings.TrimSpace(secret)
	if secret == "" || text == "" {
		return text
	}
	m := newMarks(text)
	m.mark(secret)
	for _, form := range escaped(secret) {
		m.mark(form)
	}
	for _, part := range strings.FieldsFunc(secret, notWord) {
		if utf8.RuneCountInString(part) >= piece {
			m.mark(part)
		}
	}
	// 4829 13 may come back as 482913, or as 48-29-13.
	if core := letters(secret); utf8.RuneCountInString(core) >= piece {
		m.markCore(core)
	}
	return m.blanked()
}

// marks are the characters of a text that must not be seen.
type marks struct {
	text   string
	runes  []rune
	hide   []bool
	words  []rune // letters and digits; nil: not made yet
	places []int  // of words in runes
}

func newMarks(text string) *marks {
	runes := []rune(text)
	return &marks{text: text, runes: runes, hide: make([]bool, len(runes))}
}

// mark marks every place of part.
func (m *marks) mark(part string) { markAll(m.hide, m.runes, nil, []rune(part)) }

// markCore marks every place of core, with anything but letters and digits between its
// characters.
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

func (m *marks) blanked() string {
	bytes := make([]bool, 0, len(m.text))
	for i, r := range m.runes {
		for range utf8.RuneLen(r) {
			bytes = append(bytes, m.hide[i])
		}
	}
	return blanked(m.text, bytes)
}

// markAll marks every place of part in text, from its first to its last
// character. places are those of the characters of text, nil for their own.
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

// blankQuoted replaces every run of maxQuoted or more octets that text has in
// common with a message, and every word with a digit in it, such as a booking
// id, from four characters on. A message that is itself shorter is blanked as a
// whole.
func blankQuoted(text, message string) string {
	if message == "" || text == "" {
		return text
	}
	if len(message) < maxQuoted {
		text = strings.ReplaceAll(text, message, hiddenText)
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
	for i := 0; i+maxQuoted <= len(text); i++ {
		if strings.Contains(message, text[i:i+maxQuoted]) {
			mark(i, i+maxQuoted)
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
	return strings.ToValidUTF8(blanked(text, hide), "")
}

// blanked writes text with hiddenText in the place of each run of octets that is
// marked.
func blanked(text string, hide []bool) string {
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hide[i]:
			b.WriteByte(text[i])
		case i == 0 || !hide[i-1]:
			b.WriteString(hiddenText)
		}
	}
	return b.String()
}
