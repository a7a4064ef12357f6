package mail

import (
	"encoding/base64"
	"html"
	"net/url"
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
}

func join(all ...hidden) hidden {
	var h hidden
	for _, one := range all {
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
	runes := []rune(text)
	hide := make([]bool, len(runes))
	for _, form := range []string{
		secret, html.EscapeString(secret), url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)),
	} {
		markAll(hide, runes, nil, []rune(form))
	}
	for _, part := range strings.FieldsFunc(secret, notWord) {
		if word := []rune(part); len(word) >= piece {
			markAll(hide, runes, nil, word)
		}
	}
	// 4829 13 may come back as 482913, or as 48-29-13.
	var words []rune
	var places []int
	for i, r := range runes {
		if !notWord(r) {
			words, places = append(words, r), append(places, i)
		}
	}
	core := strings.Map(func(r rune) rune {
		if notWord(r) {
			return -1
		}
		return r
	}, secret)
	if len([]rune(core)) >= piece {
		markAll(hide, words, places, []rune(core))
	}
	bytes := make([]bool, 0, len(text))
	for i, r := range runes {
		for range utf8.RuneLen(r) {
			bytes = append(bytes, hide[i])
		}
	}
	return blanked(text, bytes)
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
	hide := make([]bool, len(text))
	mark := func(from, to int) {
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
