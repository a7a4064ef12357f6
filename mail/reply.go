package mail

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxReplyText = 300 // characters of a server's words that we keep
	maxShared    = 16  // octets that a reply may have in common with the message
	hiddenText   = "***"
)

// cutEnhanced takes a status of RFC 3463 off the front of a reply's text.
func cutEnhanced(code int, text string) (enhanced [3]int, rest string) {
	first, rest, _ := strings.Cut(text, " ")
	first, more, lines := strings.Cut(first, "\n")
	if lines {
		rest = more + " " + rest
	}
	parts := strings.Split(first, ".")
	if len(parts) != 3 {
		return [3]int{}, text
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || n > 999 {
			return [3]int{}, text
		}
		enhanced[i] = int(n)
	}
	if enhanced[0] != code/100 {
		return [3]int{}, text
	}
	return enhanced, rest
}

// cleanReply makes a server's words fit for logs and pages: one short line, no
// addresses, and nothing that stands in one of the hide texts (the message, the
// password): some servers quote what they refuse.
func cleanReply(text string, hide ...string) string {
	text = oneLine(text)
	for _, secret := range hide {
		text = hideShared(text, secret)
	}
	return maskAddresses(text)
}

// oneLine replaces control characters and invalid UTF-8, collapses white space
// and cuts to maxReplyText characters.
func oneLine(s string) string {
	if len(s) > 8*maxReplyText {
		s = s[:8*maxReplyText]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > maxReplyText {
		s = string([]rune(s)[:maxReplyText]) + "…"
	}
	return s
}

// hideShared blanks every run of maxShared or more octets that text has in
// common with secret, and every word with a digit in it, such as a code, from
// four characters on. A secret that is itself shorter is blanked as a whole.
func hideShared(text, secret string) string {
	if secret == "" || text == "" {
		return text
	}
	if len(secret) < maxShared {
		text = strings.ReplaceAll(text, secret, hiddenText)
	}
	hide := make([]bool, len(text))
	mark := func(from, to int) {
		for i := from; i < to; i++ {
			hide[i] = true
		}
	}
	for i := 0; i+maxShared <= len(text); i++ {
		if strings.Contains(secret, text[i:i+maxShared]) {
			mark(i, i+maxShared)
		}
	}
	for i := 0; i < len(text); {
		end, digit := i, false
		for end < len(text) && isAlnum(text[end]) {
			digit = digit || text[end] <= '9'
			end++
		}
		if digit && end-i >= 4 && strings.Contains(secret, text[i:end]) {
			mark(i, end)
		}
		i = max(end, i+1)
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hide[i]:
			b.WriteByte(text[i])
		case i == 0 || !hide[i-1]:
			b.WriteString(hiddenText)
		}
	}
	return strings.ToValidUTF8(b.String(), "")
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// maskAddresses applies MaskAddress to whatever looks like an address.
func maskAddresses(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	words := strings.Split(text, " ")
	for i, word := range words {
		at := strings.LastIndexByte(word, '@')
		if at < 0 {
			continue
		}
		start := strings.LastIndexAny(word[:at], `<("'[,;:=`) + 1
		end := at + 1
		for end < len(word) && (isAlnum(word[end]) || word[end] == '.' || word[end] == '-' || word[end] >= utf8.RuneSelf) {
			end++
		}
		head, address, tail := word[:start], word[start:end], word[end:]
		if strings.Contains(head, "@") {
			head = hiddenText
		}
		words[i] = head + MaskAddress(address) + tail
	}
	return strings.Join(words, " ")
}
