package yaml

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// PlainType returns the type of a scalar without quotes and tag, by PyYAML's rules of
// YAML 1.1 (resolver.py).
func PlainType(s string) string {
	if s == "" {
		return "null"
	}
	switch c := s[0]; {
	case '0' <= c && c <= '9':
		switch {
		case isFloat(s):
			return "float"
		case isInt(s):
			return "int"
		case isTimestamp(s):
			return "timestamp"
		}
	case c == '-' || c == '+' || c == '.':
		switch {
		case isFloat(s):
			return "float"
		case isInt(s):
			return "int"
		}
	case s == "<<":
		return "merge"
	case s == "=":
		return "value"
	case s == "~", s == "null", s == "Null", s == "NULL":
		return "null"
	}
	switch s {
	case "yes", "Yes", "YES", "no", "No", "NO", "true", "True", "TRUE", "false", "False", "FALSE",
		"on", "On", "ON", "off", "Off", "OFF":
		return "bool"
	}
	return "str"
}

// Bool returns a bool in the form of JSON.
func Bool(s string) (word string, ok bool) {
	switch strings.ToLower(s) {
	case "yes", "true", "on":
		return "true", true
	case "no", "false", "off":
		return "false", true
	}
	return "", false
}

// cutSign takes a sign off.
func cutSign(s string) (rest string, negative bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		return s[1:], s[0] == '-'
	}
	return s, false
}

// digitsOf returns the number of bytes at the start of s that are digits up to max, or
// underscores after the first of them.
func digitsOf(s string, max byte) int {
	n := 0
	for n < len(s) && ('0' <= s[n] && s[n] <= max || s[n] == '_' && n > 0) {
		n++
	}
	return n
}

// sixties cuts one or more groups of a colon and 0 to 59 off the start of s.
func sixties(s string) (rest string, ok bool) {
	for s != "" && s[0] == ':' {
		n := 1
		for n < min(len(s), 3) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		if n == 1 || n == 3 && s[1] > '5' {
			return s, false
		}
		s, ok = s[n:], true
	}
	return s, ok
}

func isInt(s string) bool {
	s, _ = cutSign(s)
	if s == "" {
		return false
	}
	if s[0] == '0' {
		switch {
		case s == "0":
			return true
		case s[1] == 'b' || s[1] == 'x':
			digits, found := s[2:], len(s) > 2
			for _, c := range []byte(digits) {
				hex := s[1] == 'x' && unhex(c) >= 0
				if c != '_' && c != '0' && c != '1' && !hex {
					return false
				}
			}
			return found
		}
		return digitsOf(s, '7') == len(s)
	}
	n := digitsOf(s, '9')
	if n == 0 {
		return false
	}
	if n == len(s) {
		return true
	}
	rest, ok := sixties(s[n:])
	return ok && rest == ""
}

// Int returns a whole number of any length in the form of JSON.
func Int(s string) (string, bool) {
	if !isInt(s) {
		return "", false
	}
	s, negative := cutSign(strings.ReplaceAll(s, "_", ""))
	n, ok := new(big.Int), true
	switch {
	case strings.Contains(s, ":"):
		for part := range strings.SplitSeq(s, ":") {
			digit, valid := new(big.Int).SetString(part, 10)
			if !valid {
				return "", false
			}
			n.Mul(n, big.NewInt(60)).Add(n, digit)
		}
	case strings.HasPrefix(s, "0b"):
		n, ok = n.SetString(s[2:], 2)
	case strings.HasPrefix(s, "0x"):
		n, ok = n.SetString(s[2:], 16)
	case s != "" && s[0] == '0':
		n, ok = n.SetString(s, 8)
	case negative:
		return "-" + s, true
	default:
		return s, true
	}
	if !ok {
		return "", false
	}
	if negative {
		n.Neg(n)
	}
	return n.String(), true
}

func isFloat(s string) bool {
	switch strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+") {
	case ".inf", ".Inf", ".INF":
		return s[0] == '.' || s[1] == '.'
	}
	switch s {
	case ".nan", ".NaN", ".NAN":
		return true
	}
	whole, _ := cutSign(s)
	n := digitsOf(whole, '9')
	rest := whole[n:]
	if n == 0 {
		// Then no sign may precede the point.
		return len(s) > 1 && s[0] == '.' && '0' <= s[1] && s[1] <= '9' && isExponent(s[1+digitsOf(s[1:], '9'):])
	}
	if after, ok := sixties(rest); ok {
		return after != "" && after[0] == '.' && strings.Trim(after[1:], "0123456789_") == ""
	}
	if rest == "" || rest[0] != '.' {
		return false
	}
	for rest = rest[1:]; rest != "" && (rest[0] == '_' || '0' <= rest[0] && rest[0] <= '9'); {
		rest = rest[1:]
	}
	return isExponent(rest)
}

// isExponent reports whether s is empty or e, a sign, and digits.
func isExponent(s string) bool {
	if s == "" {
		return true
	}
	return len(s) > 2 && (s[0] == 'e' || s[0] == 'E') && (s[1] == '-' || s[1] == '+') &&
		strings.Trim(s[2:], "0123456789") == ""
}

// Float returns the value of a float, or of the whole number that has the tag !!float.
func Float(s string) (float64, bool) {
	if !isFloat(s) && !(isInt(s) && strings.Trim(s, "+-0123456789_") == "") {
		return 0, false
	}
	s, negative := cutSign(strings.ToLower(strings.ReplaceAll(s, "_", "")))
	var f float64
	switch {
	case s == ".inf":
		f = math.Inf(1)
	case s == ".nan":
		return math.NaN(), true
	case strings.Contains(s, ":"):
		base := 1.0
		parts := strings.Split(s, ":")
		for i := range parts {
			f += parseFloat(parts[len(parts)-1-i]) * base
			base *= 60
		}
		if math.IsInf(base, 0) { // where Python fails
			return 0, false
		}
	default:
		f = parseFloat(s)
	}
	if negative {
		f = -f
	}
	return f, true
}

// parseFloat reads digits as Python's float() does: a number that is too large is infinite.
func parseFloat(digits string) float64 {
	f, _ := strconv.ParseFloat(digits, 64) // the syntax was checked before
	return f
}
