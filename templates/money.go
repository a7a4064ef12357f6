package templates

import (
	"errors"
	"fmt"
	"math"
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

// ParseMoneyNumber reads an amount that is a JSON number, and so was a binary
// float on its way for all we know: Python says that three tickets of 19.9 cost
// 59.699999999999996. What the minor unit leaves over is dropped when it is the
// noise of a float: below a millionth, or of a number with so many digits that
// nobody meant them. An amount that was meant to be exact comes as a string or a
// Decimal; see [ParseMoney], also for the errors.
func ParseMoneyNumber(number, code string) (Money, error) {
	// 0.1+0.2-0.3 is 5.551115123125783e-17, which has more digits than any amount.
	if vanishes(number) {
		number = "0"
	}
	m, err := ParseMoney(number, code)
	if err != nil {
		return Money{}, err
	}
	return m.withoutNoise(), nil
}

// vanishes reports whether a number is less than a millionth.
func vanishes(number string) bool {
	if strings.Trim(number, "0123456789.eE+-") != "" {
		return false // ParseFloat knows words and other bases
	}
	f, err := strconv.ParseFloat(number, 64)
	return err == nil && math.Abs(f) < 1e-6
}

// A float has 15 to 17 significant digits; whoever has 15 was computed.
const noisyDigits = 15

// noiseDecimals is how far zeros, or nines, must reach behind the point for the
// amount to be less than a millionth off.
const noiseDecimals = 6

// withoutNoise rounds to the minor unit, half up, what is noise beyond it.
func (m Money) withoutNoise() Money {
	scale := m.minorUnit()
	if len(m.fraction) <= scale {
		return m
	}
	if len(m.whole)+len(m.fraction) < noisyDigits && !near(m.fraction, scale) {
		return m
	}
	up := m.fraction[scale] >= '5'
	all := []byte("0" + m.whole + m.fraction[:scale])
	for i := len(all) - 1; up; i-- { // the zero in front takes the last carry
		if up = all[i] == '9'; up {
			all[i] = '0'
		} else {
			all[i]++
		}
	}
	point := len(all) - scale
	m.whole = strings.TrimLeft(string(all[:point]), "0")
	m.fraction = strings.TrimRight(string(all[point:]), "0")
	if m.IsZero() {
		m.negative = false
	}
	return m
}

// near reports whether a fraction is less than a millionth away from its first
// scale digits, or from one more in the last of them.
func near(fraction string, scale int) bool {
	digit := func(i int) byte {
		if i < len(fraction) {
			return fraction[i]
		}
		return '0'
	}
	first := digit(scale)
	if first != '0' && first != '9' {
		return false
	}
	for i := scale; i < max(noiseDecimals, scale+1); i++ {
		if digit(i) != first {
			return false
		}
	}
	return true
}

// IsZero reports whether the amount is zero, whatever the currency.
func (m Money) IsZero() bool { return m.whole == "" && m.fraction == "" }

// String prints the amount with the digits of the currency's minor unit (two
// when no currency is known) and the code after it: "59.90 EUR", "1500 JPY",
// "59.90". Digits beyond the minor unit are kept rather than rounded. From five
// digits on, thousands are set apart by commas.
func (m Money) String() string {
	scale := m.minorUnit()
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

// minorUnit is the number of digits after the point, two without a currency.
func (m Money) minorUnit() int {
	if m.code == "" {
		return 2
	}
	return m.scale
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
