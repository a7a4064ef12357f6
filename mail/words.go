package mail

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

var (
	webAddress  = regexp.MustCompile(`(?i)\b(?:https?|ftp)://\S+`)
	mailAddress = regexp.MustCompile(`[^\s<>()\[\]"',;:=]+@[^\s<>()\[\]"',;:=]+`)
	// A name with a dot in it. Exchange writes its own reasons in that form, as in
	// RESOLVER.ADR.RecipNotFound.
	dotted       = regexp.MustCompile(`[\pL\pN_-]+(?:\.[\pL\pN_-]+)+`)
	exchangeWord = regexp.MustCompile(`^(?:RESOLVER|STOREDRV|SMTPSEND|ROUTING|AGENTGENERATEDERROR|QUEUE|RCPT)\.`)
	// A status that is not the first word, as qmail has it: (#5.1.1).
	statusInText = regexp.MustCompile(`(?:^|[\s(\[#])([45])\.(\d{1,3})\.(\d{1,3})(?:[\s)\],;:-]|$)`)
)

// wordsOf returns text in the form that rules look at: small letters, a space
// before each word, an address as "@", no apostrophes and nothing of what names a
// host or a page. A recipient called blacklist@relay.example must steer nothing.
func wordsOf(text string) string {
	text = webAddress.ReplaceAllString(text, " ")
	text = mailAddress.ReplaceAllString(text, " @ ")
	text = dotted.ReplaceAllStringFunc(text, func(name string) string {
		if exchangeWord.MatchString(name) {
			return strings.ReplaceAll(name, ".", " ")
		}
		if word, rest, _ := strings.Cut(name, "."); isSentenceEnd(rest) {
			return word + " " + rest
		}
		return " "
	})
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\'' || r == '’':
			return -1
		case r == '@' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return ' '
	}, text)
	return " " + strings.Join(strings.Fields(text), " ") + " "
}

// isSentenceEnd reports whether rest, which follows a dot without a space, begins
// a sentence: it is one word with a capital first.
func isSentenceEnd(rest string) bool {
	return rest != "" && unicode.IsUpper([]rune(rest)[0]) && !strings.Contains(rest, ".") && strings.ToUpper(rest) != rest
}

// statusIn finds an enhanced code that is not where RFC 2034 has it. The zero
// value is none of the class of code.
func statusIn(code int, text string) (status [3]int) {
	m := statusInText.FindStringSubmatch(text)
	if m == nil {
		return status
	}
	for i := range status {
		status[i], _ = strconv.Atoi(m[i+1]) // at most three digits
	}
	if status[0] != code/100 {
		return [3]int{}
	}
	return status
}
