package redact

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/protocol"
)

// These expressions are compiled for the first text, because a starting worker does not
// need them.
var (
	hexUUID = lazy(`^[0-9a-f]{32}$`)
	// address is an e-mail address, credentials the password in a URL. Both begin early
	// and end late: a host may have no dot, and a password may have an @.
	address     = lazy(`([\pL\pN._%+'\-]+)@([\pL\pN\-]+(?:\.[\pL\pN\-]+)*|\[[0-9A-Za-z:.]+\])`)
	credentials = lazy(`([A-Za-z][A-Za-z0-9+.\-]*://[^\s/:@]*):[^\s"'<>]+@`)
)

func lazy(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// named finds a name of a secret with a value after it: 'otp': '123456', token=abc.
func named(rules [][]string) func() *regexp.Regexp {
	names := make([]string, len(rules))
	for i, rule := range rules {
		quoted := make([]string, len(rule))
		for j, w := range rule {
			quoted[j] = regexp.QuoteMeta(w)
		}
		names[i] = strings.Join(quoted, `[ _.\-]?`)
	}
	name := `[\pL\pN_.\-]*?(?:` + strings.Join(names, "|") + `)s?`
	// A quoted value ends at its quote or where the text was cut, any other value at the
	// end of a word.
	value := `(?:'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[^\s,;&'"(){}\[\]]+)`
	return lazy(`(?i)(^|[^\pL\pN])(` + name + `)(\\?['"]?\s*(?:=>|[:=])\s*)(` + value + `)`)
}

// Text returns a text with everything hidden that looks like a secret. It also hides the
// given secrets, as they are or as Python and JSON quote them.
func (r *Redactor) Text(s string, secrets ...string) string {
	return r.text(s, order(secrets))
}

// order returns the secrets in all forms to search, the longest first, because one may be
// a part of another. More of them than are looked for become everything.
func order(secrets []string) (all []string) {
	if tooMany(secrets) {
		return []string{everything}
	}
	for _, s := range secrets {
		if utf8.RuneCountInString(s) >= shortest {
			all = append(all, forms(s)...)
		}
	}
	sorting.By(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	return slices.Compact(all)
}

// everything stands for more secrets than are looked for. No secret is empty.
const everything = ""

// most is how many secrets are looked for in a text. Where there are more, the text is
// hidden as a whole.
const most = 10_000

func tooMany(secrets []string) bool { return len(secrets) > most }

// forms returns the ways in which a secret is written into texts.
func forms(s string) []string {
	all := []string{s}
	for _, quoted := range []string{pythonQuoted(s, '\''), pythonQuoted(s, '"'), jsonQuoted(s, false), jsonQuoted(s, true)} {
		if quoted != s && quoted != "" {
			all = append(all, quoted)
		}
	}
	if hexUUID().MatchString(s) { // kombu writes a UUID without dashes
		all = append(all, s[:8]+"-"+s[8:12]+"-"+s[12:16]+"-"+s[16:20]+"-"+s[20:])
	}
	return all
}

// pythonQuoted returns the text that Python's repr writes between quotes.
func pythonQuoted(s string, quote rune) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '\\' || c == quote:
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f || c >= 0x80 && c <= 0xff && !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\x%02x`, c)
		case !unicode.IsPrint(c) && c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		case !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\U%08x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// jsonQuoted returns the text that a JSON writer puts between quotes, with letters beyond
// ASCII as escapes, as in Python, or as they are.
func jsonQuoted(s string, plain bool) string {
	if plain {
		b, err := json.Marshal(s)
		if err != nil || len(b) < 2 {
			return ""
		}
		return string(b[1 : len(b)-1])
	}
	b, err := protocol.Marshal(s)
	if err != nil || len(b) < 2 {
		return ""
	}
	return string(b[1 : len(b)-1])
}

// longest is the number of bytes of a text that are shown if values are bounded.
const longest = 4096

// cutMark is the text that Celery writes where it has cut a text.
const cutMark = "..."

// hideCut hides the beginnings of secrets that were cut before.
func hideCut(s string, secrets []string) string {
	parts := strings.Split(s, cutMark)
	for i, part := range parts[:len(parts)-1] {
		for _, secret := range secrets {
			for n := min(len(secret)-1, len(part)); n >= shortest; n-- {
				if strings.HasSuffix(part, secret[:n]) {
					part = part[:len(part)-n] + Mark
					break
				}
			}
		}
		parts[i] = part
	}
	return strings.Join(parts, cutMark)
}

// text hides secrets, which must be in the order of order.
func (r *Redactor) text(s string, secrets []string) string {
	if s == "" {
		return s
	}
	if len(secrets) == 1 && secrets[0] == everything {
		return Mark
	}
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, Mark)
	}
	if strings.Contains(s, cutMark) {
		s = hideCut(s, secrets)
	}
	// The text is cut here: no secret of the list is cut in two, and a name with a value
	// may end at the end of the text.
	if r.budget > 0 && len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "..."
	}
	if strings.ContainsAny(s, ":=") {
		s = credentials().ReplaceAllString(s, "$1:"+Mark+"@")
		named := r.named()
		s = named.ReplaceAllStringFunc(s, func(m string) string {
			p := named.FindStringSubmatch(m)
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
		s = address().ReplaceAllStringFunc(s, maskAddress)
	}
	return s
}

// maskAddress keeps the domain and the first letter of the local part, so that readers
// recognise their own address. A local part of one or two letters is hidden, because its
// first letter would reveal half of it.
func maskAddress(a string) string {
	const few = 2
	local, domain, _ := strings.Cut(a, "@")
	if utf8.RuneCountInString(local) <= few {
		return "***@" + domain
	}
	first, _ := utf8.DecodeRuneInString(local)
	return string(first) + "***@" + domain
}
