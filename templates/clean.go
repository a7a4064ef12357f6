package templates

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of user text, in runes. They are generous for honest data. But a name must not be
// as long as a mail: an attacker can register the address of a stranger with an
// advertisement as a name.
const (
	MaxName    = 60
	maxEvent   = 120
	maxID      = 64
	maxAddress = 254
	maxCode    = 32
	maxSubject = 140
	maxMarks   = 8 // combining marks on one base character
)

const (
	zwnj = '\u200c' // zero width non-joiner
	zwj  = '\u200d' // zero width joiner
)

// Clean returns s as one line of harmless text of at most limit runes. Spaces of all kinds,
// CR and LF become one space. Control characters, invisible format characters (zero width,
// bidi marks, overrides and isolates, tags, fillers) and invalid UTF-8 are removed. Joiners
// stay between two characters outside ASCII, because Persian, Indic scripts and emoji
// families need them.
func Clean(s string, limit int) string {
	// The input is cut first, so that a name of megabytes costs nothing.
	if most := limit * 64; len(s) > most {
		s = s[:most]
	}
	s = strings.ToValidUTF8(s, "")
	out := make([]rune, 0, min(len(s), limit+1))
	marks := 0
	joiner := rune(0) // waits for what it joins
	for _, r := range s {
		last := ' '
		if len(out) > 0 {
			last = out[len(out)-1]
		}
		switch {
		case r == zwj || r == zwnj:
			if joiner == 0 {
				joiner = r
			}
			continue
		case unicode.IsSpace(r) || unicode.In(r, unicode.Z):
			if last == ' ' {
				continue
			}
			r, marks = ' ', 0
		case invisible(r):
			continue
		case unicode.Is(unicode.M, r):
			if marks++; marks > maxMarks || len(out) == 0 {
				continue
			}
		default:
			marks = 0
		}
		if joiner != 0 && last > unicode.MaxASCII && r > unicode.MaxASCII {
			out = append(out, joiner)
		}
		joiner = 0
		out = append(out, r)
	}
	return strings.TrimSpace(cut(out, limit))
}

// invisible reports whether r shows nothing, or changes its neighbours, and so could hide
// or reorder text.
func invisible(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800', utf8.RuneError: // fillers, blank braille
		return true
	case '\u034f', '\u17b4', '\u17b5': // grapheme joiner, inherent vowels
		return true
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs) ||
		r&0xfffe == 0xfffe || // noncharacters
		r >= '\ufdd0' && r <= '\ufdef'
}

// cut shortens a text to limit runes, the last of them an ellipsis. It does not separate an
// accent, a skin tone or an emoji sequence from its base.
func cut(runes []rune, limit int) string {
	if len(runes) <= limit {
		return string(runes)
	}
	n := limit - 1
	for n > 0 && (extends(runes[n]) || runes[n-1] == zwj) {
		n--
	}
	return strings.TrimRightFunc(string(runes[:n]), unicode.IsSpace) + "…"
}

func extends(r rune) bool {
	return r == zwj || r == zwnj || unicode.Is(unicode.M, r) || r >= 0x1f3fb && r <= 0x1f3ff
}

// EventName returns the name of an event, cleaned, or "Event".
func (p *Page) EventName(s string) string { return p.Stock(Clean(s, maxEvent), "Event") }

// BookingID returns the id of a booking, cleaned, or "N/A".
func BookingID(s string) string { return cmp.Or(Clean(s, maxID), "N/A") }
