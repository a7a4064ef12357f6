// Package wording translates the words that the program itself writes into mails, such as
// "Booking ID" and the names of months. A file has one word a line:
//
//	Booking ID = Buchungsnummer
//	ticket [one] = Ticket
//	ticket [other] = Tickets
package wording

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// Bounds of a file of words.
const (
	maxWord  = 200 // bytes of a word or its translation
	maxWords = 500
)

// Fault is what is wrong with a line.
type Fault struct {
	Line int
	Text string
}

// Table has the translations of one file. The keys are the English words; those of plural forms
// have the form behind them, as in "ticket [one]".
type Table map[string]string

// forms are the plural forms of CLDR by the names that files use.
var forms = []struct {
	name string
	form plural.Form
}{
	{"zero", plural.Zero}, {"one", plural.One}, {"two", plural.Two}, {"few", plural.Few}, {"many", plural.Many}, {"other", plural.Other},
}

// Parse reads a file of words. Lines that are empty or begin with # are skipped.
func Parse(text string) (Table, []Fault) {
	t := Table{}
	var faults []Fault
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if reason := t.add(line); reason != "" {
			faults = append(faults, Fault{n, reason})
		}
	}
	return t, faults
}

// add reads one line. It returns what is wrong with it, or "".
func (t Table) add(line string) string {
	english, translated, found := strings.Cut(line, "=")
	english, translated = strings.TrimSpace(english), strings.TrimSpace(translated)
	// Quotes keep spaces, as of a mark between thousands.
	if n := len(translated); n > 2 && translated[0] == '"' && translated[n-1] == '"' {
		translated = translated[1 : n-1]
	}
	switch {
	case !found || english == "":
		return `not a word and its translation; write a line such as "Booking ID = Buchungsnummer"`
	case translated == "":
		return fmt.Sprintf("%q has no translation; write it behind the =, or remove the line", english)
	case len(english) > maxWord || len(translated) > maxWord:
		return fmt.Sprintf("longer than %d bytes; words are labels, longer texts belong into templates", maxWord)
	case strings.IndexFunc(translated, func(r rune) bool { return unicode.IsControl(r) }) >= 0:
		return "holds a control character; remove it"
	case strings.ContainsAny(translated, "<>"):
		return "holds < or >; words are plain text, write HTML into templates"
	case t[english] != "":
		return fmt.Sprintf("%q is there twice; remove one of the lines", english)
	case len(t) >= maxWords:
		return fmt.Sprintf("more than %d words; remove words that no mail uses", maxWords)
	}
	t[english] = translated
	return ""
}

// Words translates into one language. A nil one is English, as the program has it. It is safe
// for concurrent use once Asked is nil.
type Words struct {
	tables []Table // the first that has a word decides
	tag    language.Tag
	plain  bool // English: nothing must be translated

	// Asked is told each key that is asked for, and whether there is a translation.
	Asked func(key string, found bool)
}

// New returns the words of a language. tables are its own and those of the languages that it
// falls back to, in order.
func New(tag string, tables ...Table) *Words {
	return &Words{tables: tables, tag: language.Make(tag)}
}

// Reworded returns English with some words replaced.
func Reworded(t Table) *Words { return &Words{tables: []Table{t}, tag: language.English, plain: true} }

// Word returns the translation of an English word, or the word.
func (w *Words) Word(english string) string {
	if w == nil {
		return english
	}
	if text, ok := w.find(english); ok {
		return text
	}
	return english
}

// find returns the translation of a key.
func (w *Words) find(key string) (string, bool) {
	text, ok := "", false
	for _, t := range w.tables {
		if text, ok = t[key]; ok {
			break
		}
	}
	if w.Asked != nil {
		w.Asked(key, ok || w.plain)
	}
	return text, ok
}

// Plural returns a noun in the form that goes with a number.
func (w *Words) Plural(n int64, noun string) string {
	english := noun
	if n != 1 {
		english += "s"
	}
	if w == nil {
		return english
	}
	if w.Asked != nil {
		for _, f := range Forms(w.tag) {
			w.find(formKey(noun, f))
		}
	}
	if text, ok := w.find(formKey(noun, w.form(n))); ok {
		return text
	}
	return english
}

// form returns the plural form of a number, by the rules of CLDR.
func (w *Words) form(n int64) plural.Form {
	const settled = 1_000_000 // the rules look at the last six digits
	i := int(n % settled)
	if n >= settled {
		i += settled
	}
	return plural.Cardinal.MatchPlural(w.tag, i, 0, 0, 0, 0)
}

func formKey(noun string, form plural.Form) string {
	for _, f := range forms {
		if f.form == form {
			return noun + " [" + f.name + "]"
		}
	}
	return noun + " [other]"
}

// Forms returns the plural forms that whole numbers of a language have.
func Forms(tag language.Tag) (all []plural.Form) {
	for n := range 201 {
		if f := plural.Cardinal.MatchPlural(tag, n, 0, 0, 0, 0); !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	return all
}

// IsRightToLeft reports whether a language is written from right to left.
func IsRightToLeft(tag string) bool {
	script, _ := language.Make(tag).Script()
	return slices.Contains([]string{"Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm"}, script.String())
}
