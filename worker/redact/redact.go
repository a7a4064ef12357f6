// Package redact shows values without their secrets: in events, in answers to remote
// control, and in logs. Stored results and published messages are not redacted.
//
// A value is hidden if its name is that of a secret, such as the member "otp" of an
// object or the keyword argument "token". Texts have no names. In them redact hides
// everything that looks like a name with a value, and every secret that was found
// elsewhere. The local parts of e-mail addresses are masked everywhere.
package redact

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/evently/workers/worker/protocol"
)

// Mark replaces a hidden value.
const Mark = "[redacted]"

// defaults lists the names of secrets. A space stands for any border of words.
var defaults = [...]string{
	"otp", "code", "passcode", "pin", "token", "jwt", "password", "passwd", "passphrase", "pwd", "secret", "credential",
	"authorization", "cookie", "api key", "private key", "access key", "session id", "cvv", "cvc", "ssn", "iban",
}

// Redactor hides secrets by a list of names. Many goroutines may use it.
type Redactor struct {
	rules   [][]string            // words of each name
	named   func() *regexp.Regexp // finds the rules in texts
	unnamed bool                  // texts and numbers without a name are hidden too
	budget  int                   // bytes to write of one value; 0: no bound
}

// Bounded returns a Redactor that writes about that many bytes of one value, and "..."
// for the rest. The search for secrets takes time, and only the beginning of most values
// is shown.
func (r *Redactor) Bounded(bytes int) *Redactor {
	bounded := *r
	bounded.budget = bytes
	return &bounded
}

// spent reports whether the bound of a value is reached.
func (r *Redactor) spent(out []byte) bool { return r.budget > 0 && len(out) > r.budget }

// Unnamed returns a Redactor for the arguments of a task that gets only secrets. It also
// hides texts and numbers without a name: the arguments themselves and the elements of
// lists. So a secret that a caller has put in a wrong place is not shown.
func (r *Redactor) Unnamed() *Redactor {
	strict := *r
	strict.unnamed = true
	return &strict
}

// exposed reports whether a value is hidden because it has no name.
func (r *Redactor) exposed(raw protocol.Raw) bool {
	if !r.unnamed {
		return false
	}
	switch s := strings.TrimSpace(string(raw)); s {
	case "", "null", "true", "false", `""`:
		return false
	default:
		return s[0] != '{' && s[0] != '['
	}
}

// New makes a Redactor for the usual names and the given ones. It compares names by
// words: "card number" covers card_number, cardNumber and "Card-Numbers".
func New(names ...string) *Redactor {
	r := &Redactor{}
	for _, name := range append(defaults[:], names...) {
		if w := words(name); len(w) > 0 {
			r.rules = append(r.rules, w)
		}
	}
	r.named = named(r.rules)
	return r
}

// words splits a name at all but letters and digits, and before capitals: "otpCode" is
// otp and code.
func words(name string) []string {
	var out []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			out, word = append(out, string(word)), nil
		}
	}
	rs := []rune(name)
	for i, c := range rs {
		switch {
		case !unicode.IsLetter(c) && !unicode.IsDigit(c):
			end()
			continue
		case unicode.IsUpper(c) && i > 0 && !unicode.IsUpper(rs[i-1]):
			end()
		case unicode.IsUpper(c) && i > 0 && i+1 < len(rs) && unicode.IsLower(rs[i+1]):
			end() // the last capital of OTPCode begins a word
		}
		word = append(word, unicode.ToLower(c))
	}
	end()
	return out
}

// Secret reports whether a value of that name is hidden.
func (r *Redactor) Secret(name string) bool {
	have := words(name)
	joined := strings.Join(have, "")
	for _, rule := range r.rules {
		// A name without borders, such as accesstoken, matches only words that are no
		// part of others.
		if whole := strings.Join(rule, ""); len(whole) >= 5 && strings.Contains(joined, whole) {
			return true
		}
		for i := 0; i+len(rule) <= len(have); i++ {
			if same(have[i:i+len(rule)], rule) {
				return true
			}
		}
	}
	return false
}

// same compares words; the last one may be in the plural.
func same(have, rule []string) bool {
	for i, w := range rule {
		if have[i] != w && !(i == len(rule)-1 && have[i] == w+"s") {
			return false
		}
	}
	return true
}

// Value returns a JSON value with its secrets hidden, and the given ones at any place. A
// text that is no JSON is hidden as a whole.
func (r *Redactor) Value(raw protocol.Raw, secrets ...string) protocol.Raw {
	var checked protocol.Raw
	if protocol.Unmarshal(raw, &checked) != nil {
		return protocol.Raw(`"` + Mark + `"`)
	}
	return r.value(nil, checked, 0, order(secrets))
}

// Args returns an array of positional arguments with its secrets hidden. names are the
// known names of their parameters.
func (r *Redactor) Args(raw protocol.Raw, names []string, secrets ...string) protocol.Raw {
	out, err := r.array(nil, raw, names, 0, order(secrets))
	if err != nil {
		return r.Value(raw, secrets...)
	}
	return out
}

// array writes an array whose first elements have these names.
func (r *Redactor) array(dst []byte, raw protocol.Raw, names []string, depth int, secrets []string) (out []byte, err error) {
	out, i := append(dst, '['), 0
	err = raw.EachElement(func(item protocol.Raw) bool {
		if i > 0 {
			out = append(out, ", "...)
		}
		if r.spent(out) {
			out = append(out, `"..."`...)
			return false
		}
		if i < len(names) && r.hides(names[i], item) || r.exposed(item) {
			out = append(out, `"`+Mark+`"`...)
		} else {
			out = r.value(out, item, depth+1, secrets)
		}
		i++
		return true
	})
	return append(out, ']'), err
}

// hides reports whether a value of that name is hidden. null, true and false are not,
// because they reveal nothing.
func (r *Redactor) hides(name string, value protocol.Raw) bool {
	switch strings.TrimSpace(string(value)) {
	case "", "null", "true", "false", `""`:
		return false
	}
	return r.Secret(name)
}

// isSignature reports whether an object is a task to be called, with arguments that
// have no names.
func isSignature(object protocol.Raw) bool {
	var task, args bool
	_ = object.EachField(func(f protocol.Field) bool {
		task, args = task || f.Name == "task", args || f.Name == "args"
		return !task || !args
	})
	return task && args
}

// deepest is the depth to which values are shown; deeper values are hidden.
const deepest = 100

func (r *Redactor) value(dst []byte, raw protocol.Raw, depth int, secrets []string) (out []byte) {
	s := strings.TrimSpace(string(raw))
	if s == "" || depth > deepest {
		return append(dst, `"`+Mark+`"`...)
	}
	switch s[0] {
	case '{':
		if out, err := r.object(dst, raw, depth, secrets); err == nil {
			return out
		}
	case '[':
		if out, err := r.array(dst, raw, nil, depth, secrets); err == nil {
			return out
		}
	case '"':
		var text string
		if protocol.Unmarshal(raw, &text) != nil {
			break
		}
		shown := r.text(text, secrets)
		if shown == text {
			return append(dst, raw...)
		}
		if b, err := protocol.Marshal(shown); err == nil {
			return append(dst, b...)
		}
	default:
		return append(dst, raw...)
	}
	return append(dst, `"`+Mark+`"`...)
}

// object writes an object.
func (r *Redactor) object(dst []byte, raw protocol.Raw, depth int, secrets []string) (out []byte, err error) {
	out = append(dst, '{')
	signature, first := isSignature(raw), true
	err = raw.EachField(func(f protocol.Field) bool {
		if !first {
			out = append(out, ", "...)
		}
		first = false
		if r.spent(out) {
			out = append(out, `"...": "..."`...)
			return false
		}
		name, err := protocol.Marshal(r.text(f.Name, secrets))
		if err != nil {
			name = []byte(`"?"`)
		}
		out = append(append(out, name...), ": "...)
		switch {
		case r.hides(f.Name, f.Value) || depth == 0 && r.exposed(f.Value):
			out = append(out, `"`+Mark+`"`...)
		case signature && f.Name == "args":
			out = r.Unnamed().value(out, f.Value, depth+1, secrets)
		default:
			out = r.value(out, f.Value, depth+1, secrets)
		}
		return true
	})
	return append(out, '}'), err
}

// Secrets returns the texts and numbers that Value and Args hide by their names, except
// ones too short to differ from other text. [Redactor.Text] finds them where they have no
// name.
func (r *Redactor) Secrets(raw protocol.Raw, names []string) []string {
	c := collector{r: r, names: names}
	c.walk(raw, false, 0)
	return c.secrets
}

// collector gathers the secrets of one value.
type collector struct {
	r       *Redactor
	names   []string // of the elements at the top
	secrets []string
}

// walk gathers the secrets of raw. hidden is set if a name above hides all of it.
func (c *collector) walk(raw protocol.Raw, hidden bool, depth int) {
	s := strings.TrimSpace(string(raw))
	if s == "" || depth > deepest {
		return
	}
	switch s[0] {
	case '{':
		c.object(raw, hidden, depth)
	case '[':
		c.array(raw, hidden, depth)
	case '"':
		if protocol.Unmarshal(raw, &s) == nil {
			c.add(s, hidden)
		}
	case 't', 'f', 'n':
	default:
		c.add(s, hidden)
	}
}

func (c *collector) object(raw protocol.Raw, hidden bool, depth int) {
	signature := isSignature(raw)
	_ = raw.EachField(func(f protocol.Field) bool {
		if signature && f.Name == "args" {
			c.secrets = append(c.secrets, c.r.Unnamed().Secrets(f.Value, nil)...)
		} else {
			c.walk(f.Value, hidden || c.r.Secret(f.Name) || depth == 0 && c.r.exposed(f.Value), depth+1)
		}
		return !tooMany(c.secrets)
	})
}

func (c *collector) array(raw protocol.Raw, hidden bool, depth int) {
	i := 0
	_ = raw.EachElement(func(item protocol.Raw) bool {
		named := depth == 0 && i < len(c.names) && c.r.Secret(c.names[i])
		c.walk(item, hidden || named || c.r.exposed(item), depth+1)
		i++
		return !tooMany(c.secrets)
	})
}

func (c *collector) add(s string, hidden bool) {
	if hidden && len(s) >= shortest {
		c.secrets = append(c.secrets, s)
	}
}

// shortest is the least length of a secret that is searched in other texts. Shorter ones
// would be found by accident.
const shortest = 4
