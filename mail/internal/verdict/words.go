package verdict

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

var (
	webAddress  = regexp.MustCompile(`(?i)\b(?:https?|ftp)://\S+`)
	mailAddress = regexp.MustCompile(`[^\s<>()\[\]"',;:=]+@[^\s<>()\[\]"',;:=]+`)
	// A name with a dot in it. Exchange writes reasons in that form, such as
	// RESOLVER.ADR.RecipNotFound.
	dotted       = regexp.MustCompile(`[\pL\pN_-]+(?:\.[\pL\pN_-]+)+`)
	exchangeWord = regexp.MustCompile(`^(?:RESOLVER|STOREDRV|SMTPSEND|ROUTING|AGENTGENERATEDERROR|QUEUE|RCPT)\.`)
	// A status that is not the first word, as qmail writes it: (#5.1.1).
	statusInText = regexp.MustCompile(`(?:^|[\s(\[#])([45])\.(\d{1,3})\.(\d{1,3})(?:[\s)\],;:-]|$)`)
)

// normalize returns text in the form that rules compare: lower case, a space before and
// after each word, "@" for an address, and no apostrophes, host names or URLs. So a recipient
// called blacklist@relay.example cannot influence a verdict.
func normalize(text string) string {
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

// isSentenceEnd reports whether rest, which follows a dot without a space, begins a
// sentence. It does if it is one word that begins with a capital letter.
func isSentenceEnd(rest string) bool {
	return rest != "" && unicode.IsUpper([]rune(rest)[0]) && !strings.Contains(rest, ".") && strings.ToUpper(rest) != rest
}

// statusIn returns an enhanced code that is not at the place of RFC 2034. It returns the
// zero value if text holds none of the class of code.
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
