package web

import (
	"fmt"
	"slices"
	"strings"
)

// showOdd makes the characters visible that steer a terminal, turn the direction of text or
// have no width: names and messages are chosen by others, and must not look like something
// else, here or where they are copied to. It changes the text of a page, its hints, and what its
// buttons copy. Other attributes and fields of forms stay, because their values go back to where they came from.
//
// html is the output of html/template, in which a value never has < or >.
func showOdd(html string) string {
	at := strings.IndexFunc(html, isOdd)
	if at < 0 {
		return html
	}
	var b strings.Builder
	b.Grow(len(html) + 64)
	inTag, inField, inValue, inHint := false, false, false, false
	for i, r := range html {
		switch {
		case r == '<':
			inTag = true
			rest := html[i:]
			if strings.HasPrefix(rest, "<textarea") {
				inField = true
			} else if strings.HasPrefix(rest, "</textarea") {
				inField = false
			}
		case r == '>':
			inTag = false
		case r == '"' && inTag: // in a value it is &#34;
			inValue = !inValue
			inHint = inValue && hasSuffix(html[:i], " title=", " aria-label=", " data-copy=")
		case (!inTag && !inField || inTag && inHint) && isOdd(r):
			b.WriteString(visible(r))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func hasSuffix(text string, suffixes ...string) bool {
	return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(text, s) })
}

func visible(r rune) string {
	if r < 0x80 {
		return fmt.Sprintf(`\x%02x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// isOdd reports whether a character is not seen but has an effect. The joiners of emoji and
// scripts are no such characters.
func isOdd(r rune) bool {
	switch {
	case r < ' ':
		return r != '\n' && r != '\t' && r != '\r'
	case r < 0x7f:
		return false
	case r <= 0x9f, r == 0x61c, r == 0x200b, r == 0x200e, r == 0x200f, r == 0xfeff:
		return true
	}
	return r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r >= 0xfff9 && r <= 0xfffb || r >= 0xe0000 && r <= 0xe007f
}
