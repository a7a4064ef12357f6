package templates

import (
	"html/template"
	"strconv"
	"strings"
)

// Fact is one line of a list of facts, the same in HTML and text.
type Fact struct {
	Label, Value string
	Look         string        // of the value in HTML
	Shown        template.HTML // the value in HTML
}

// TextFact shows text. A fact without a value is left out by [Facts].
func TextFact(label, value string) Fact { return Fact{label, value, "td", unlink(value)} }

// DateFact shows a date or a moment; none is the zero When.
func DateFact(label string, w When) Fact {
	return Fact{label, w.String(), "td", unlink(whole(w.String()))}
}

// TotalFact shows an amount that is not broken inside, unless it is longer than any that
// is paid. A total below zero is none.
func TotalFact(label string, m Money) Fact {
	const longest = 22 // "123,456,789,012.95 EUR"
	if m.negative {
		m = UnknownMoney()
	}
	f := TextFact(label, m.String())
	if runes(f.Value) <= longest {
		f.Look = "amount"
	}
	return f
}

// RefundFact shows an amount that can be paid out.
func RefundFact(label string, m Money) Fact {
	if !m.Payable() {
		m = UnknownMoney()
	}
	return TotalFact(label, m)
}

// Facts returns the facts that have a value.
func Facts(all ...Fact) []Fact {
	out := all[:0]
	for _, f := range all {
		if f.Value != "" {
			out = append(out, f)
		}
	}
	return out
}

// whole keeps a number on one line with its noun, a day with its month and a time
// with its zone: 23 November / 2026, / 20:15 UTC.
func whole(s string) string {
	words := strings.Split(s, " ")
	for i := range words[:len(words)-1] {
		if digits(words[i][:min(1, len(words[i]))]) && !strings.HasSuffix(words[i], ",") {
			words[i] += "\u00a0"
		} else {
			words[i] += " "
		}
	}
	return strings.Join(words, "")
}

// Position returns a place in line, "" below one: a mail that leaves a line out is
// better than one that says -3.
func Position(n int64) string {
	if n < 1 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// Count returns a number of things, "" below one.
func Count(n int64, noun string) string {
	if n < 1 {
		return ""
	}
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(n, 10) + " " + noun
}
