package redact

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// textRules find secrets in free text.
type textRules struct {
	// named is a name with a value behind it: 'otp': '123456', token=abc.
	named *regexp.Regexp
}

// address is an e-mail address, credentials the password in a URL.
var (
	address     = regexp.MustCompile(`([\pL\pN._%+'\-]+)@([\pL\pN\-]+(?:\.[\pL\pN\-]+)+)`)
	credentials = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.\-]*://[^\s/:@]*):[^\s/@]+@`)
)

func newTextRules(rules [][]string) textRules {
	names := make([]string, 0, len(rules))
	for _, rule := range rules {
		for i, w := range rule {
			rule[i] = regexp.QuoteMeta(w)
		}
		names = append(names, strings.Join(rule, `[ _.\-]?`))
	}
	name := `[\pL\pN_.\-]*?(?:` + strings.Join(names, "|") + `)s?`
	// A quoted value ends at its quote, or where the text was cut; another one where
	// a word ends.
	value := `(?:'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[^\s,;&'"(){}\[\]]+)`
	return textRules{named: regexp.MustCompile(`(?i)(^|[^\pL\pN])(` + name + `)(\\?['"]?\s*(?:=>|[:=])\s*)(` + value + `)`)}
}

// Text returns a text with all that looks like a secret hidden, and the given
// secrets wherever they stand.
func (r *Redactor) Text(s string, secrets ...string) string {
	if s == "" {
		return s
	}
	for _, secret := range secrets {
		if utf8.RuneCountInString(secret) >= shortest {
			s = strings.ReplaceAll(s, secret, Mark)
		}
	}
	if strings.ContainsAny(s, ":=") {
		s = credentials.ReplaceAllString(s, "$1:"+Mark+"@")
		s = r.text.named.ReplaceAllStringFunc(s, func(m string) string {
			p := r.text.named.FindStringSubmatch(m)
			if p == nil || !r.Secret(p[2]) {
				return m
			}
			switch strings.ToLower(p[4]) {
			case "none", "null", "true", "false", "''", `""`:
				return m
			}
			value := Mark
			if q := p[4][0]; q == '\'' || q == '"' {
				value = string(q) + Mark + string(q)
			}
			return p[1] + p[2] + p[3] + value
		})
	}
	if strings.Contains(s, "@") {
		s = address.ReplaceAllStringFunc(s, maskAddress)
	}
	return s
}

// maskAddress keeps the first letter of the local part, and the domain: enough to
// recognise one's own, and no more.
func maskAddress(a string) string {
	local, domain, _ := strings.Cut(a, "@")
	first, _ := utf8.DecodeRuneInString(local)
	return string(first) + "***@" + domain
}
