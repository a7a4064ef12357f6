package mail

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evently/workers/mail/internal/queueid"
	"github.com/evently/workers/mail/internal/redact"
)

const (
	maxReplyText = 300 // characters of a reply that are kept
)

// cutEnhanced returns the status code of RFC 3463 at the beginning of a reply, and the rest.
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
	// RFC 2034 section 4: each line has the code.
	rest = strings.ReplaceAll(rest, "\n"+first+" ", "\n")
	if enhanced[0] != code/100 {
		return [3]int{}, text
	}
	return enhanced, rest
}

// cleanReply returns a reply in a form for logs and pages: one short line, with addresses and
// secrets masked. Some servers quote the mail that they refuse.
func cleanReply(text string, h redact.Secrets) string {
	// Secrets are masked before the text is cut, because half a secret would not be
	// found.
	return shorten(maskAddresses(h.Text(flatten(text))))
}

// oneLine replaces control characters and invalid UTF-8, collapses white space
// and cuts to maxReplyText characters.
func oneLine(s string) string { return shorten(flatten(s)) }

func flatten(s string) string {
	if most := 8 * maxReplyText; len(s) > most {
		s = s[:most]
		s = s[:strings.LastIndexAny(s, " \t\r\n")+1] // whole words only
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

func shorten(s string) string {
	if utf8.RuneCountInString(s) > maxReplyText {
		s = string([]rune(s)[:maxReplyText]) + "…"
	}
	return s
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// maskAddresses applies [MaskAddress] to each word that looks like an address.
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
			head = redact.Mask
		}
		words[i] = head + MaskAddress(address) + tail
	}
	return strings.Join(words, " ")
}

// queueID returns the id in the final reply, or "". An id that has a secret or the recipient in
// it is no id: it may be the mail that the server quotes.
func queueID(reply string, to Address, hide redact.Secrets) string {
	id := queueid.Parse(flatten(reply))
	if hide.Text(id) != id || strings.Contains(strings.ToLower(id), strings.ToLower(to.String())) {
		return ""
	}
	local, _, isAddress := strings.Cut(id, "@")
	if isAddress && len(local) < 10 || strings.EqualFold(local, to.Local) {
		return ""
	}
	return id
}
