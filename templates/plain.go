package templates

import (
	"strings"
	"unicode"
)

// Bare returns s without the characters that a copy from a web page or a spreadsheet adds:
// spaces and control characters around it, and invisible format characters, such as a byte
// order mark. Spaces of all widths become plain spaces. Control characters inside stay.
func Bare(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Zs, r):
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

// Plain is [Bare] with ASCII for full-width forms and the minus sign, for numbers and
// dates.
func Plain(s string) string {
	return Bare(strings.Map(func(r rune) rune {
		switch {
		case r == '\u2212': // minus sign
			return '-'
		case r >= '\uff01' && r <= '\uff5e':
			return r - '\uff01' + '!'
		}
		return r
	}, s))
}
