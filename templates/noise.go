package templates

import (
	"strconv"
	"strings"
)

const (
	// sureDigits are the significant digits that every float keeps, DBL_DIG of C.
	sureDigits = 15
	// meantDigits are the significant digits that a sum of many floats keeps.
	meantDigits = 13
	// quotientDigits are the significant digits at which a float cuts off a quotient.
	quotientDigits = 16
	// noiseDecimals is the number of zeros, or nines, behind the point that make an
	// amount differ by less than a millionth.
	noiseDecimals = 6
)

// withoutNoise removes the digits that binary floats add to an amount, and no others.
// Python says that three tickets of 19.9 cost 59.699999999999996, and sends it as a
// number, a text or a Decimal. The noise is
//
//   - less than a millionth beside the minor unit;
//   - all digits behind the thirteenth, when a shorter amount stands before them:
//     1234.567000000001 is 1234.567;
//   - digits behind the fifteenth and the minor unit, which no float can hold;
//   - the digits of a 32-bit float.
//
// A quotient such as 33.333333333333336 has no shorter form and is rounded to the minor
// unit, unless nothing would be left of it.
func (m Money) withoutNoise() Money {
	scale := m.minorUnit()
	if len(m.fraction) <= scale {
		return m
	}
	if near(m.fraction, scale) {
		return m.round(scale)
	}
	if short, ok := m.withoutNoise32(scale); ok {
		return short
	}
	n := m.significant()
	if n < sureDigits {
		return m
	}
	point := n - len(m.fraction) // where it is in the n digits
	for _, kept := range []int{sureDigits, meantDigits} {
		decimals := kept - point
		if kept == sureDigits {
			decimals = max(decimals, scale)
		}
		if decimals < scale {
			break
		}
		if short := m.round(decimals); len(short.fraction) <= scale || len(short.fraction) <= decimals-3 {
			return short
		}
	}
	if rounded := m.round(scale); n >= quotientDigits && !rounded.IsZero() {
		return rounded
	}
	return m
}

// significant counts the digits from the first that is not zero.
func (m Money) significant() int {
	return len(strings.TrimLeft(m.whole+m.fraction, "0"))
}

// withoutNoise32 returns the amount that a 32-bit float was made of: 5999.7 is
// 5999.7001953125 there, which is more digits than an amount has.
func (m Money) withoutNoise32(scale int) (Money, bool) {
	const fewest = 12
	if m.significant() < fewest {
		return m, false
	}
	f, err := strconv.ParseFloat("0"+m.whole+"."+m.fraction, 64)
	if err != nil || float64(float32(f)) != f {
		return m, false
	}
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(f, 'f', -1, 32), ".")
	m.whole, m.fraction = strings.TrimLeft(whole, "0"), fraction
	return m, len(fraction) <= scale
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
