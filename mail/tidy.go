package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// TidyAddress removes characters that people paste with an address, and converts full-width
// characters to ASCII. It removes
//
//   - spaces around it, and invisible format characters, such as a byte order mark, except
//     joiners between characters of scripts that need them;
//   - "mailto:" before it, and the parameters of such a link;
//   - angle brackets, and one display name before them;
//   - quotes around it, and a separator of lists behind it.
//
// It keeps everything else, which [ParseAddress] refuses.
func TidyAddress(s string) string {
	if len(s) > 16*maxAddress || !utf8.ValidString(s) {
		return s
	}
	s = strings.TrimSpace(seen(s))
	if one := strings.TrimRight(s, ";, "); !strings.ContainsAny(one, "<>:;,") {
		s = one
	}
	if n := len(s); n > 2 && (s[0] == '\'' || s[0] == '"') && s[n-1] == s[0] {
		s = strings.TrimSpace(s[1 : n-1])
	}
	if inner, ok := bracketed(s); ok {
		s = strings.TrimSpace(inner)
	}
	const scheme = "mailto:"
	if len(s) > len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
		s = s[len(scheme):]
		if at := strings.IndexByte(s, '@'); at >= 0 {
			domain, _, _ := strings.Cut(s[at:], "?")
			s = s[:at] + domain
		}
	}
	return s
}

// seen returns s without invisible format characters, and with full-width characters as ASCII.
func seen(s string) string {
	var b strings.Builder
	var last rune
	for i, r := range s {
		switch {
		case r == '\u200c' || r == '\u200d':
			next, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
			if last < utf8.RuneSelf || next < utf8.RuneSelf || next == utf8.RuneError || unicode.Is(unicode.Cf, next) {
				continue
			}
		case unicode.Is(unicode.Cf, r):
			continue
		case r >= '\uff01' && r <= '\uff5e':
			r += '!' - '\uff01'
		case r == '\u3002' || r == '\uff61': // ideographic full stops
			r = '.'
		}
		b.WriteRune(r)
		last = r
	}
	return b.String()
}

// bracketed returns the text in the angle brackets at the end of s. The name before them may be
// quoted, and must contain nothing that could be a second address.
func bracketed(s string) (inner string, ok bool) {
	before, inner, ok := strings.Cut(s, "<")
	inner, end := strings.CutSuffix(inner, ">")
	if !ok || !end || strings.ContainsAny(inner, "<>") {
		return "", false
	}
	name := strings.TrimSpace(before)
	if len(name) >= 2 && name[0] == '"' && name[len(name)-1] == '"' {
		name = strings.ReplaceAll(name[1:len(name)-1], ",", "")
	}
	if strings.ContainsAny(name, `"@<>,;:\()`) || strings.ContainsFunc(name, unicode.IsControl) {
		return "", false
	}
	return inner, true
}
