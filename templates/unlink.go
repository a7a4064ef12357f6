package templates

import (
	"html/template"
	"regexp"
	"strings"
	"sync"
	"unicode"
)

// unlink returns user text as HTML of which mail programs make no links. They look for bare
// domains, addresses and "://", so escaping does not help: "Ann, see evil.example" in a
// name would be a link in our mail. An element around the dot, the at sign and the colon
// breaks the pattern. Unlike a character of no width it is not copied: no user has a
// username with such a character. Dots before digits and spaces stay, as in "v2.0", "59.90"
// and "St. Ives".
func unlink(s string) template.HTML {
	if !strings.ContainsAny(s, ".@:。．｡") {
		return template.HTML(template.HTMLEscapeString(s))
	}
	runes := []rune(s)
	var b strings.Builder
	from := 0
	for i := range runes {
		if breaksLink(runes, i) {
			b.WriteString(template.HTMLEscapeString(string(runes[from:i])))
			b.WriteString("<span>" + string(runes[i]) + "</span>") // no character of these needs an escape
			from = i + 1
		}
	}
	b.WriteString(template.HTMLEscapeString(string(runes[from:])))
	return template.HTML(b.String())
}

// breaksLink reports whether a link in a text is broken at one of its characters.
func breaksLink(runes []rune, i int) bool {
	if i+1 == len(runes) || runes[i+1] == ' ' {
		return false
	}
	next := runes[i+1]
	switch runes[i] {
	case '.', '。', '．', '｡':
		return i > 0 && runes[i-1] != ' ' && !unicode.IsDigit(next)
	case '@':
		return true
	case ':':
		return i == 0 || !unicode.IsDigit(runes[i-1]) || !unicode.IsDigit(next) // times stay: 20:15
	}
	return false
}

// link matches text that is not in a name: a scheme, www, or a domain with a path.
var link = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)\p{L}:/|\bwww\.|\S\.\p{L}{2,}[/:?#]`)
})

// GreetedName returns the name by which a mail greets its reader, or "there". It does not
// take a name with a link in it: an attacker can register the address of a stranger, and
// the text part cannot show such a name without a link.
func (p *Page) GreetedName(fullName, username string) string {
	for _, name := range []string{Clean(fullName, MaxName), Clean(username, MaxName)} {
		if name != "" && !link().MatchString(name) {
			return p.Stock(name, "User", "there")
		}
	}
	return p.Stock("there", "User", "there")
}
