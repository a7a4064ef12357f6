package templates

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
)

// maxMoneyDigits bounds the digits before and after the point that a mail shows, and
// the exponent.
const maxMoneyDigits = 24

// maxMoneyText bounds the text of an amount, in bytes. A Decimal that was made of a
// float has up to some 60 digits; a float near zero has an exponent of -324.
const maxMoneyText = 128

var errAmount = errors.New("read amount: not a decimal number")

// ParseMoney reads an amount as JSON numbers and Python's Decimal write it ("59.9",
// "1E+2", "-3"), or as people do: with a currency ("€ 59.90", "59.90 EUR"), thousands
// set apart ("1,250.00", "1 250.00") or a decimal comma ("1.250,00", "59,90"). The
// currency is an ISO 4217 code or a sign such as "€", and may be empty.
//
// A comma before three digits, as in "1,250", has two meanings. It sets thousands apart
// where the currency has fewer decimals; without a currency the amount is refused.
// Currencies that do not exist, and two that differ, are refused as well. Noise of binary
// floats is removed. The error never repeats the input.
func ParseMoney(amount, currency string) (Money, error) {
	var u unit
	if Plain(currency) != "" {
		var ok bool
		if u, ok = readCurrency(currency); !ok {
			return Money{}, errors.New("read currency: not an ISO 4217 code")
		}
	}
	if len(amount) > maxMoneyText {
		return Money{}, errors.New("read amount: too many digits")
	}
	negative, number, own, ok := cutCurrency(Plain(amount))
	if !ok {
		return Money{}, errAmount
	}
	if own != "" {
		if u, ok = sameCurrency(own, u); !ok {
			return Money{}, errors.New("read amount: another currency, or none that exists")
		}
	}
	m := Money{negative: negative, unit: u}
	if err := m.parse(number); err != nil {
		return Money{}, err
	}
	m = m.withoutNoise()
	if len(m.whole) > maxMoneyDigits || len(m.fraction) > maxMoneyDigits {
		return Money{}, errors.New("read amount: too many digits")
	}
	if m.IsZero() {
		m.negative = false
	}
	return m, nil
}

// cutCurrency splits an amount into its sign, its number and the currency before or after
// it.
func cutCurrency(s string) (negative bool, number, currency string, ok bool) {
	inCurrency := func(r rune) bool { return unicode.IsLetter(r) || unicode.Is(unicode.Sc, r) }
	signed := false
	sign := func() {
		rest := strings.TrimLeft(s, "+-")
		if len(rest) == len(s) {
			return
		}
		if signed || len(s)-len(rest) > 1 {
			s = "" // two signs
			return
		}
		signed, negative = true, s[0] == '-'
		s = strings.TrimSpace(rest)
	}
	sign()
	number = strings.TrimLeftFunc(s, inCurrency)
	before := s[:len(s)-len(number)]
	if isAbbreviation(before) {
		number = strings.TrimPrefix(number, ".")
	}
	s = strings.TrimSpace(number)
	sign()
	dotless := strings.TrimSuffix(s, ".")
	number = strings.TrimRightFunc(dotless, inCurrency)
	after := dotless[len(number):]
	if !isAbbreviation(after) {
		number = strings.TrimRightFunc(s, inCurrency)
		after = s[len(number):]
	}
	return negative, strings.TrimSpace(number), before + after, number != "" && (before == "" || after == "")
}

// sameCurrency returns the currency that a text names, if it does not contradict another
// one, which may be empty. A sign of several currencies does not contradict their codes.
func sameCurrency(text string, other unit) (unit, bool) {
	own, ok := readCurrency(text)
	switch {
	case !ok:
		return unit{}, false
	case other.code == "" || own == other:
		return own, true
	case own.fits(other.code):
		return other, true
	case other.fits(own.code):
		return own, true
	}
	return unit{}, false
}

// parse reads a number without a sign.
func (m *Money) parse(s string) error {
	exponent := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil {
			return errAmount
		}
		exponent, s = n, s[:i]
	}
	whole, fraction, ok := m.cutDecimals(s)
	if !ok || whole+fraction == "" || !digits(whole) || !digits(fraction) {
		return errAmount
	}
	return m.shift(whole, fraction, exponent)
}

// shift moves the point by the exponent. An amount below a millionth of a millionth is
// zero: 0.1+0.2-0.3 is 5.551115123125783e-17 in floats.
func (m *Money) shift(whole, fraction string, exponent int) error {
	all := strings.TrimLeft(whole+fraction, "0")
	point := len(all) - len(fraction) + exponent // where it is in all
	switch {
	case all == "" || point < -maxMoneyDigits/2:
		return nil
	case point > maxMoneyDigits:
		return errors.New("read amount: too many digits")
	case point < 0:
		all, point = strings.Repeat("0", -point)+all, 0
	case point > len(all):
		all += strings.Repeat("0", point-len(all))
	}
	m.whole, m.fraction = all[:point], strings.TrimRight(all[point:], "0")
	return nil
}

// cutDecimals splits a number at its decimal point or comma and removes the separators of
// thousands.
func (m *Money) cutDecimals(s string) (whole, fraction string, ok bool) {
	commas, points := strings.Count(s, ","), strings.Count(s, ".")
	decimal := ""
	switch {
	case commas > 0 && points > 0: // the last kind is the decimal one
		decimal = "."
		if strings.LastIndexByte(s, ',') > strings.LastIndexByte(s, '.') {
			decimal = ","
		}
	case points == 1:
		decimal = "."
	case commas == 1:
		before, after, _ := strings.Cut(s, ",")
		groups := len(after) == 3 && len(before) >= 1 && len(before) <= 3 && before[0] != '0'
		if groups && (m.unit.code == "" || m.unit.digits > 2) {
			return "", "", false
		}
		if !groups {
			decimal = ","
		}
	}
	whole = s
	if decimal != "" {
		whole, fraction, _ = strings.Cut(s, decimal)
	}
	whole, ok = ungroup(whole)
	return whole, fraction, ok
}

// ungroup removes the separators of thousands. The last group has three digits, and the
// groups before it have three, or two as in India.
func ungroup(s string) (string, bool) {
	i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if i < 0 {
		return s, true
	}
	separator := string([]rune(s[i:])[0])
	if !strings.Contains(",.'’ _", separator) {
		return "", false
	}
	groups := strings.Split(s, separator)
	for i, g := range groups {
		last := i == len(groups)-1
		if !digits(g) || len(g) == 0 || len(g) > 3 || last && len(g) != 3 || i > 0 && len(g) < 2 {
			return "", false
		}
	}
	return strings.Join(groups, ""), true
}
