package templates

import (
	"html/template"
	"strconv"
	"strings"
)

// fact is one line of a list of facts, the same in HTML and text.
type fact struct {
	Label, Value string
	Look         string        // of the value in HTML
	Shown        template.HTML // the value in HTML
}

func textFact(label, value string) fact { return fact{label, value, "td", unlink(value)} }

func dateFact(label string, w When) fact {
	return fact{label, w.String(), "td", unlink(whole(w.String()))}
}

// totalFact shows an amount that is not broken inside, unless it is longer than any that
// is paid. A total below zero is none.
func totalFact(label string, m Money) fact {
	const longest = 22 // "123,456,789,012.95 EUR"
	if m.negative {
		m = UnknownMoney()
	}
	f := textFact(label, m.String())
	if runes(f.Value) <= longest {
		f.Look = "amount"
	}
	return f
}

// refundFact shows an amount that can be paid out.
func refundFact(label string, m Money) fact {
	if !m.payable() {
		m = UnknownMoney()
	}
	return totalFact(label, m)
}

func facts(all ...fact) []fact {
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

// position is a place in line, "" for one that is none: a mail that leaves a
// line out is better than one that says -3.
func position(n int64) string {
	if n < 1 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// count is a number of things, "" for less than one.
func count(n int64, noun string) string {
	if n < 1 {
		return ""
	}
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(n, 10) + " " + noun
}
