package words

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sentence writes a text as a sentence: with a capital letter and a full stop.
func Sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// Count writes a number of things.
func Count(n int64, thing string) string { return counted(strconv.FormatInt(n, 10), thing) }

// GroupedCount is [Count] with the number as [Grouped] writes it.
func GroupedCount(n int64, thing string) string { return counted(Grouped(n), thing) }

func counted(number, thing string) string {
	if number != "1" {
		thing += "s"
	}
	return number + " " + thing
}

// Grouped writes a number with a comma after each three digits.
func Grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	digits := strings.TrimPrefix(text, "-")
	sign := text[:len(text)-len(digits)]
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Maybe is [Line] that leaves an empty text empty.
func Maybe(text string) string {
	if text == "" {
		return ""
	}
	return Line(text)
}

// Name writes a name of others, with a dot for each control character.
func Name(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(name, "�"))
}
