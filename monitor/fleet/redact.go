package fleet

import (
	"hash/maphash"
	"strings"

	"github.com/evently/workers/worker/redact"
)

// hider hides the secrets of what the events of tasks show. Workers of this library have
// hidden theirs already. Python's workers send the repr of all arguments.
type hider struct {
	redact *redact.Redactor
	params func(task string) []string // names of the positional parameters
	seed   maphash.Seed

	secretNames map[string]bool // guarded by the mutex of the state
}

// seen holds hashes of the secrets of a task, so that they are found again in its result
// and its errors. The seed of the hashes is in memory only, and so are they.
type seen []uint64

// mostSeen bounds the secrets that are remembered for a task.
const mostSeen = 16

// args shows the repr of a tuple or a list of positional arguments. Elements are hidden by
// the names of their parameters. Without names, and within lists, texts and numbers that may
// be codes or tokens are hidden.
func (h *hider) args(task string, repr []byte) (string, seen) {
	switch s := string(repr); s {
	case "", "()", "[]", "None":
		return s, nil
	}
	var names []string
	if h.params != nil {
		names = h.params(task)
	}
	return h.literals(string(repr), names, true)
}

// kwargs shows the repr of the keyword arguments.
func (h *hider) kwargs(repr []byte) (string, seen) {
	switch s := string(repr); s {
	case "", "{}", "None":
		return s, nil
	}
	return h.literals(string(repr), nil, true)
}

// literals hides the texts and numbers of a repr that have the name of a secret. With codes
// set, it also hides the ones without a name that may be codes. Within the other texts it
// hides what [redact.Redactor.Text] hides: much less to search than the whole.
func (h *hider) literals(repr string, params []string, codes bool) (string, seen) {
	var out strings.Builder
	var secrets seen
	s := literalScanner{text: repr}
	copied := 0
	for s.next() {
		value := s.value()
		if h.secret(&s, value, params, codes) {
			if !tells(value) {
				continue
			}
			secrets = h.remember(secrets, value)
			out.WriteString(repr[copied:s.start])
			out.WriteString("'" + redact.Mark + "'")
			copied = s.end
		} else if strings.ContainsAny(value, "@:=") {
			out.WriteString(repr[copied:s.start])
			out.WriteString(h.redact.Text(repr[s.start:s.end]))
			copied = s.end
		}
	}
	if copied == 0 {
		return repr, nil
	}
	out.WriteString(repr[copied:])
	return out.String(), secrets
}

// secret reports whether a literal is hidden as a whole.
func (h *hider) secret(s *literalScanner, value string, params []string, codes bool) bool {
	switch {
	case s.key:
		return false
	case s.name != "":
		return h.secretName(s.name)
	case s.depth == 1 && s.index < len(params):
		return h.secretName(params[s.index])
	}
	return codes && mayBeCode(value)
}

// secretName remembers which names are those of secrets, because they repeat.
func (h *hider) secretName(name string) bool {
	secret, ok := h.secretNames[name]
	if !ok {
		secret = h.redact.Secret(name)
		if len(h.secretNames) >= mostNames || h.secretNames == nil {
			h.secretNames = map[string]bool{}
		}
		h.secretNames[strings.Clone(name)] = secret
	}
	return secret
}

const mostNames = 5_000

// result shows the repr of a result.
func (h *hider) result(repr []byte, secrets seen) string {
	s := string(repr)
	if len(secrets) > 0 {
		s = h.forget(s, secrets)
	}
	s, _ = h.literals(s, nil, false)
	return s
}

// text shows an exception or a traceback.
func (h *hider) text(b []byte, secrets seen) string {
	s := string(b)
	if len(secrets) > 0 {
		s = h.forget(s, secrets)
	}
	return h.redact.Text(s)
}

// tells reports whether a value is one to hide: True, False, None and "" tell nothing.
func tells(value string) bool {
	switch value {
	case "", "True", "False", "None", redact.Mark:
		return false
	}
	return true
}

// mayBeCode reports whether a value without a name looks like a one-time code or a token: 4
// to 10 digits, or a long word of letters and digits that is no UUID.
func mayBeCode(value string) bool {
	digits, letters, others := 0, 0, 0
	for _, c := range []byte(value) {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c|0x20 && c|0x20 <= 'z':
			letters++
		case c == ' ' || c == '@' || c == '/' || c == ':':
			return false // words, addresses, paths, times
		default:
			others++
		}
	}
	if letters+others == 0 {
		return 4 <= digits && digits <= 10
	}
	return len(value) >= 20 && digits > 0 && letters > 0 && !isUUID(value)
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') {
			return false
		}
	}
	return true
}

// remember adds the words of a secret.
func (h *hider) remember(secrets seen, secret string) seen {
	eachWord(secret, func(start, end int) {
		if end-start >= 4 && len(secrets) < mostSeen {
			secrets = append(secrets, maphash.String(h.seed, secret[start:end]))
		}
	})
	return secrets
}

// forget hides the words of secrets in a text.
func (h *hider) forget(s string, secrets seen) string {
	var out strings.Builder
	copied := 0
	eachWord(s, func(start, end int) {
		if end-start < 4 {
			return
		}
		hash := maphash.String(h.seed, s[start:end])
		for _, secret := range secrets {
			if secret == hash {
				out.WriteString(s[copied:start])
				out.WriteString(redact.Mark)
				copied = end
				return
			}
		}
	})
	if copied == 0 {
		return s
	}
	out.WriteString(s[copied:])
	return out.String()
}

// eachWord calls fn for each run of ASCII letters and digits.
func eachWord(s string, fn func(start, end int)) {
	start := -1
	for i := 0; i <= len(s); i++ {
		if i < len(s) && isWord(s[i]) {
			if start < 0 {
				start = i
			}
		} else if start >= 0 {
			fn(start, i)
			start = -1
		}
	}
}

func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
