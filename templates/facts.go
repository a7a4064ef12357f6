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

// TextFact returns a fact with a text, which must be cleaned. [Facts] leaves out a fact
// without a value. The label is an English word, which files of words translate.
func (p *Page) TextFact(label, value string) Fact {
	return Fact{p.Word(label), value, "td", unlink(value)}
}

// DateFact returns a fact with a date or a moment. It has no value for the zero When.
func (p *Page) DateFact(label string, w When) Fact {
	date := p.Date(w)
	return Fact{p.Word(label), date, "td", unlink(whole(date))}
}

// TotalFact returns a fact with an amount. Only a very long amount may break into lines. A
// total below zero is no value.
func (p *Page) TotalFact(label string, m Money) Fact {
	const longest = 22 // "123,456,789,012.95 EUR"
	if m.negative {
		m = UnknownMoney()
	}
	f := p.TextFact(label, p.Money(m))
	if runes(f.Value) <= longest {
		f.Look = "amount"
	}
	return f
}

// RefundFact returns a fact with an amount that can be paid out. Other amounts are no
// value.
func (p *Page) RefundFact(label string, m Money) Fact {
	if !m.Payable() {
		m = UnknownMoney()
	}
	return p.TotalFact(label, m)
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

// whole keeps a number and its noun on one line, a day and its month, a time and its zone:
// 23 November / 2026, / 20:15 UTC.
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

// Position returns a place in line. It returns "" below one: a mail without the line is
// better than one that says -3.
func Position(n int64) string {
	if n < 1 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// Count returns a number with its noun, or "" below one.
func (p *Page) Count(n int64, noun string) string {
	if n < 1 {
		return ""
	}
	return strconv.FormatInt(n, 10) + " " + p.words.Plural(n, noun)
}
