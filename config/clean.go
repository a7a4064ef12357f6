package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/evently/workers/internal/connurl"
)

// Env files are read in many ways: what one reader takes off, another hands to the
// program. These functions take off the quotes, comments, brackets and line ends
// that belong to the file, and note each of them for a warning.

// manner says what a value may hold.
type manner int

const (
	plain   manner = iota // no space in front of a #
	phrase                // any text: a # may be meant
	urlLike               // a password that is pasted into a URL may have any letter
)

// quotes are the pairs around a value; the last ones come from word processors.
var quotes = []string{`""`, `''`, "``", "“”", "‘’", "„“"}

// clean returns the value without what belongs to the file that it stood in, and
// notes about what was left out.
func clean(value string, m manner) (text string, notes []string) {
	text = strings.TrimFunc(value, isSpace)
	if strings.TrimRight(value, "\r\n") != value && text != "" {
		notes = append(notes, "ends in a line break, which is left out")
	}
	kept, commented := cutComment(text, m)
	if commented {
		notes = append(notes, "has a comment behind it, which is left out")
		text = kept
	} else if m == phrase && strings.Contains(text, " #") {
		notes = append(notes, "has a # behind a space, which is kept; a comment wants a line to itself")
	}
	for range 2 { // as in '"value"'
		inner, ok := unquote(text)
		if !ok {
			break
		}
		text = strings.TrimFunc(inner, isSpace)
		if !slices.Contains(notes, noteQuotes) {
			notes = append(notes, noteQuotes)
		}
	}
	if m == urlLike && startsQuoted(text) && len(text) > 1 && text[0] == text[len(text)-1] {
		text = text[1 : len(text)-1] // the password has quotes too
		notes = append(notes, noteQuotes)
	}
	return text, notes
}

const noteQuotes = "is written in quotes, which are left out"

// isSpace also knows the invisible characters that editors leave behind.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' || r == '\u200b' }

// unquote takes one pair of quotes off that stands around the whole text.
func unquote(text string) (inner string, ok bool) {
	for _, pair := range quotes {
		p := []rune(pair)
		rest, starts := strings.CutPrefix(text, string(p[0]))
		inner, ends := strings.CutSuffix(rest, string(p[1]))
		if starts && ends && !strings.ContainsAny(inner, pair) {
			return inner, true
		}
	}
	return "", false
}

// cutComment takes off a # behind a space, and what follows.
func cutComment(text string, m manner) (kept string, ok bool) {
	if m == phrase && !startsQuoted(text) {
		return text, false
	}
	if text == "#" || strings.HasPrefix(text, "# ") {
		return "", m != phrase
	}
	from := 0
	if startsQuoted(text) { // a # in the quotes is no comment
		end := strings.IndexByte(text[1:], text[0])
		if end < 0 {
			return text, false
		}
		from = 1 + end + 1
		if rest := strings.TrimLeftFunc(text[from:], unicode.IsSpace); rest != "" && (rest == text[from:] || rest[0] != '#') {
			return text, false
		}
	}
	i := strings.IndexFunc(text[from:], func(r rune) bool { return r == '#' })
	for i >= 0 {
		at := from + i
		if at > 0 && unicode.IsSpace(rune(text[at-1])) {
			if m == urlLike && (strings.Contains(text[at:], "@") || !strings.Contains(text[:at], "://")) {
				return text, false
			}
			return strings.TrimRightFunc(text[:at], unicode.IsSpace), true
		}
		next := strings.IndexByte(text[at+1:], '#')
		if next < 0 {
			break
		}
		from, i = at+1, next
	}
	return text, false
}

func startsQuoted(text string) bool {
	return strings.HasPrefix(text, `"`) || strings.HasPrefix(text, `'`)
}

// cleanSecret is clean for a password, which may have spaces and quotes: one pair
// of quotes around the whole is left out, more are kept.
func cleanSecret(value string) (text string, notes []string) {
	text = strings.TrimRight(value, "\r\n")
	if text != value {
		notes = append(notes, "ends in a line break, which is left out; write it without, as printf and echo -n do")
	}
	trimmed := strings.TrimSpace(text)
	if !startsQuoted(trimmed) {
		if strings.Contains(text, " #") {
			notes = append(notes, "has a # behind a space, which is kept as a part of it")
		}
		return text, notes
	}
	quote := trimmed[:1]
	if kept, ok := cutComment(trimmed, plain); ok {
		notes, trimmed = append(notes, "has a comment behind it, which is left out"), kept
	}
	inner, ok := strings.CutSuffix(trimmed[1:], quote)
	switch {
	case !ok:
		return text, append(notes, "begins with a quote and does not end with one, which is kept as a part of it")
	case !strings.Contains(inner, quote):
		return inner, append(notes, noteQuotes+"; where they are a part of it, write them twice, as in "+quote+quote+"…"+quote+quote)
	case len(inner) > 2 && strings.HasPrefix(inner, quote) && strings.HasSuffix(inner, quote):
		return inner, append(notes, "is written in two pairs of quotes, of which one is left out")
	}
	return text, append(notes, "begins and ends with a quote and has more inside, so all are kept as a part of it")
}

// readAs completes notes about a value with what it is read as, unless that may be
// a secret.
func readAs(notes []string, text string) string {
	const most = 100
	if len(notes) == 0 {
		return ""
	}
	note := strings.Join(notes, "; ")
	switch {
	case text == "":
		return note + "; nothing is left, so it counts as not set"
	case strings.Contains(text, "://"):
		return note + "; read as " + connurl.Redact(text)
	case len(text) > most:
		return note
	}
	return note + "; read as " + text
}

// splitList returns the items of a list with commas, which may be written as a
// list of JSON or Python, with quotes around each.
func splitList(text string) (items []string, note string) {
	inner, bracketed := cutBrackets(text)
	if bracketed {
		var values []any
		if json.Unmarshal([]byte(text), &values) == nil {
			for _, v := range values {
				items = append(items, fmt.Sprint(v))
			}
			return items, "is written in brackets; read as " + strings.Join(items, ",")
		}
		text = strings.TrimSuffix(strings.TrimSpace(inner), ",")
	}
	quoted := false
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if inner, ok := unquote(item); ok {
			item, quoted = strings.TrimSpace(inner), true
		}
		items = append(items, item)
	}
	switch {
	case bracketed:
		note = "is written in brackets; read as " + strings.Join(items, ",")
	case quoted:
		note = "has quotes around its items, which are left out; read as " + strings.Join(items, ",")
	}
	return items, note
}

// cutBrackets takes the brackets of a list off. The one address of IPv6 is none.
func cutBrackets(text string) (inner string, ok bool) {
	for _, pair := range []string{"[]", "()"} {
		rest, starts := strings.CutPrefix(text, pair[:1])
		inner, ends := strings.CutSuffix(rest, pair[1:])
		if starts && ends && !strings.ContainsAny(inner, "[]()") && (!strings.Contains(inner, ":") || strings.ContainsAny(inner, `"',`)) {
			return inner, true
		}
	}
	return text, false
}

// isStray reports whether a name has a quote or a bracket at one of its ends, the
// rest of a pair.
func isStray(name string) bool {
	return strings.Trim(name, "\"'`“”‘’„()") != name
}

// unquoteName takes off what env files leave around the name of a variable.
func unquoteName(name string) string {
	name = strings.TrimFunc(name, isSpace)
	if rest, ok := strings.CutPrefix(name, "export"); ok {
		name = strings.TrimFunc(rest, isSpace)
	}
	if inner, err := strconv.Unquote(name); err == nil {
		return inner
	}
	return name
}
