package templates

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of user text, in runes. They are generous for honest data and keep a
// name from becoming a mail of its own: anybody may register a stranger's
// address under a "name" that is an advertisement.
const (
	maxName    = 60
	maxEvent   = 120
	maxID      = 64
	maxReason  = 400
	maxAddress = 254
	maxCode    = 32
	maxSubject = 140
	maxMarks   = 8 // combining marks on one base character
)

const (
	zwnj = '\u200c' // zero width non-joiner
	zwj  = '\u200d' // zero width joiner
)

// clean makes one line of harmless text: CR, LF and every other space become
// one space; control characters, invisible format characters (zero width, bidi
// marks, overrides and isolates, tags, fillers) and invalid UTF-8 vanish; then
// it is cut at limit runes. Joiners survive between two characters outside
// ASCII, where Persian, Indic scripts and emoji families need them.
func clean(s string, limit int) string {
	// Input is bounded first, so that megabytes of a name cost nothing.
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

// cleanOr is clean with a default for text of which nothing is left.
func cleanOr(s string, limit int, otherwise string) string {
	if s = clean(s, limit); s == "" {
		return otherwise
	}
	return s
}

// invisible reports whether r shows nothing, or changes how its neighbours
// show, and so could hide or reorder text.
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

// cut shortens to limit runes, the last of them an ellipsis. It does not part
// an accent, a skin tone or an emoji sequence from its base.
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

// unlink keeps mail programs from turning user text into a link. They find
// bare domains, addresses and "://" by themselves, in HTML and in plain text,
// so escaping does not help: "Ann, see evil.example" in a name would be
// clickable in our mail. A zero width non-joiner after the dot, the at sign
// and the colon breaks the pattern and shows nothing. (The word joiner would
// be the purer choice, but older Outlook fonts draw it as a box.) Dots before
// digits and spaces stay, so "v2.0", "59.90" and "St. Ives" can be copied as
// they are.
func unlink(s string) string {
	if !strings.ContainsAny(s, ".@:。．｡") {
		return s
	}
	runes := []rune(s)
	var b strings.Builder
	for i, r := range runes {
		b.WriteRune(r)
		if i+1 == len(runes) || runes[i+1] == ' ' {
			continue
		}
		next := runes[i+1]
		switch r {
		case '.', '。', '．', '｡':
			if i > 0 && runes[i-1] != ' ' && !unicode.IsDigit(next) {
				b.WriteRune(zwnj)
			}
		case '@':
			b.WriteRune(zwnj)
		case ':':
			if i == 0 || !unicode.IsDigit(runes[i-1]) || !unicode.IsDigit(next) { // times stay: 20:15
				b.WriteRune(zwnj)
			}
		}
	}
	return b.String()
}

// name, event and the like are what templates see of user text.
func shownName(fullName, username string) string {
	return unlink(cleanOr(fullName, maxName, cleanOr(username, maxName, "there")))
}

func shownEvent(s string) string { return unlink(plainEvent(s)) }

// plainEvent is for subjects: nothing turns those into links, and producers
// know them word for word.
func plainEvent(s string) string { return cleanOr(s, maxEvent, "Event") }

func shownID(s string) string { return unlink(cleanOr(s, maxID, "N/A")) }
