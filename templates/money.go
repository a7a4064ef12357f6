package templates

import (
	"fmt"
	"strings"
)

// Money is an exact decimal amount, with or without a currency. The zero value is an amount
// of zero without currency. It is never a float: 59.9 prints as "59.90", and 0.1 stays 0.1.
// [ParseMoney] returns one.
type Money struct {
	unknown  bool // see UnknownMoney
	negative bool
	whole    string // digits without leading zeros, "" is zero
	fraction string // digits without trailing zeros
	unit     unit   // its code is "" for none
}

// UnknownMoney returns the amount that leaves its line out of a mail.
func UnknownMoney() Money { return Money{unknown: true} }

// IsZero reports whether the amount is zero in any currency.
func (m Money) IsZero() bool { return !m.unknown && m.whole == "" && m.fraction == "" }

// Payable reports whether an amount can be paid out: it is known, not negative, and
// zero or at least one minor unit.
func (m Money) Payable() bool {
	if m.unknown || m.negative {
		return false
	}
	return m.IsZero() || m.whole != "" || strings.Trim(m.fraction[:min(len(m.fraction), m.minorUnit())], "0") != ""
}

// String prints the amount with the digits of the currency's minor unit (two
// when no currency is known) and the code after it: "59.90 EUR", "1500 JPY",
// "59.90". Digits beyond the minor unit are kept rather than rounded. From five
// digits on, thousands are set apart by commas. An unknown amount is "".
func (m Money) String() string { return m.format(".", ",") }

// Money returns an amount in the language of the mail, as [Money.String] does in English. Files of
// words have the point of decimals and the comma of thousands.
func (p *Page) Money(m Money) string {
	if p.words == nil {
		return m.String()
	}
	return m.format(p.Word("decimal ."), p.Word("thousands ,"))
}

// format prints the amount with a mark before the fraction, and one between thousands.
func (m Money) format(point, comma string) string {
	if m.unknown {
		return ""
	}
	fraction := m.fraction
	if n := m.minorUnit() - len(fraction); n > 0 {
		fraction += strings.Repeat("0", n)
	}
	s := grouped(m.whole, comma)
	if fraction != "" {
		s += point + fraction
	}
	if m.negative {
		s = "-" + s
	}
	if m.unit.code != "" {
		return fmt.Sprintf("%s %s", s, m.unit.code)
	}
	return s
}

// minorUnit returns the number of digits after the point, two without a currency.
func (m Money) minorUnit() int {
	if m.unit.code == "" {
		return 2
	}
	return m.unit.digits
}

func grouped(whole, comma string) string {
	if whole == "" {
		return "0"
	}
	if len(whole) < 5 {
		return whole
	}
	var b strings.Builder
	for i, r := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(comma)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// round rounds to a number of digits behind the point, half up.
func (m Money) round(digits int) Money {
	if len(m.fraction) <= digits {
		return m
	}
	up := m.fraction[digits] >= '5'
	all := []byte("0" + m.whole + m.fraction[:digits])
	for i := len(all) - 1; up; i-- { // the zero in front takes the last carry
		if up = all[i] == '9'; up {
			all[i] = '0'
		} else {
			all[i]++
		}
	}
	point := len(all) - digits
	m.whole = strings.TrimLeft(string(all[:point]), "0")
	m.fraction = strings.TrimRight(string(all[point:]), "0")
	if m.IsZero() {
		m.negative = false
	}
	return m
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
