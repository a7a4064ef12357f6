package templates

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/text/currency"
)

// maxMoneyDigits bounds the digits before and after the point, so that an
// exponent such as 1e999999 cannot blow up a mail.
const maxMoneyDigits = 24

// Money is an exact decimal amount, with or without a currency. The zero value
// is an amount of zero without currency. It is never a float: 59.9 prints as
// "59.90", 0.1 plus nothing stays 0.1.
type Money struct {
	negative bool
	whole    string // digits without leading zeros, "" is zero
	fraction string // digits without trailing zeros
	code     string // ISO 4217, upper case; "" is unknown
	scale    int    // digits of the minor unit, when code is set
}

// ParseMoney reads an amount as JSON numbers and Python's Decimal write it
// ("59.9", "1E+2", "-3") and an ISO 4217 code, which may be empty. Thousands
// separators are refused, as "1,250" means two different amounts in two
// countries. The error never repeats the input.
func ParseMoney(amount, code string) (Money, error) {
	m := Money{}
	s := strings.TrimSpace(amount)
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		m.negative, s = true, rest
	} else {
		s = strings.TrimPrefix(s, "+")
	}
	exponent := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil || n > maxMoneyDigits || n < -maxMoneyDigits {
			return Money{}, errors.New("read amount: exponent out of range")
		}
		exponent, s = n, s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	if whole+fraction == "" || !digits(whole) || !digits(fraction) {
		return Money{}, errors.New("read amount: not a decimal number")
	}
	if len(whole) > 2*maxMoneyDigits || len(fraction) > 2*maxMoneyDigits {
		return Money{}, errors.New("read amount: too many digits")
	}
	for ; exponent > 0; exponent-- {
		if fraction == "" {
			fraction = "0"
		}
		whole, fraction = whole+fraction[:1], fraction[1:]
	}
	for ; exponent < 0; exponent++ {
		if whole == "" {
			whole = "0"
		}
		whole, fraction = whole[:len(whole)-1], whole[len(whole)-1:]+fraction
	}
	m.whole = strings.TrimLeft(whole, "0")
	m.fraction = strings.TrimRight(fraction, "0")
	if len(m.whole) > maxMoneyDigits || len(m.fraction) > maxMoneyDigits {
		return Money{}, errors.New("read amount: too many digits")
	}
	if m.IsZero() {
		m.negative = false
	}
	if code = strings.TrimSpace(code); code != "" {
		unit, err := currency.ParseISO(code)
		if err != nil {
			return Money{}, errors.New("read currency: not an ISO 4217 code")
		}
		m.code = unit.String()
		m.scale, _ = currency.Standard.Rounding(unit)
	}
	return m, nil
}

// IsZero reports whether the amount is zero, whatever the currency.
func (m Money) IsZero() bool { return m.whole == "" && m.fraction == "" }

// String prints the amount with the digits of the currency's minor unit (two
// when no currency is known) and the code after it: "59.90 EUR", "1500 JPY",
// "59.90". Digits beyond the minor unit are kept rather than rounded. From five
// digits on, thousands are set apart by commas.
func (m Money) String() string {
	scale := m.scale
	if m.code == "" {
		scale = 2
	}
	fraction := m.fraction
	if n := scale - len(fraction); n > 0 {
		fraction += strings.Repeat("0", n)
	}
	s := grouped(m.whole)
	if fraction != "" {
		s += "." + fraction
	}
	if m.negative {
		s = "-" + s
	}
	if m.code != "" {
		return fmt.Sprintf("%s %s", s, m.code)
	}
	return s
}

func grouped(whole string) string {
	if whole == "" {
		return "0"
	}
	if len(whole) < 5 {
		return whole
	}
	var b strings.Builder
	for i, r := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
