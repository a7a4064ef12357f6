package mail

import (
	"encoding/base64"
	"net"
	"net/textproto"
	"slices"
	"sync"

	"github.com/evently/workers/mail/internal/redact"
)

// Mechanisms of RFC 4616 and of draft-murchison-sasl-login.
const (
	plain      = "PLAIN"
	loginWords = "LOGIN"
)

// maxCommandLine is the longest command line with its CRLF, RFC 5321 section 4.5.3.1.4.
const maxCommandLine = 512

var errChallenge = setupError{"login not understood", "the server asks for more than user and password"}

// login authenticates, RFC 4954. A server may refuse one offered mechanism with the code of a
// wrong password and accept the other one. So the other one is tried as well, but only once:
// several refusals lock an account.
func (h *handshake) login(offered []string) *SendError {
	if h.tls == "" && !isLoopbackAddr(h.raw.RemoteAddr()) {
		return h.fail("AUTH", setupError{"no TLS", "the password would be readable on its way"})
	}
	try, done := h.sender.mechanisms.choose(offered)
	defer done()
	if len(try) == 0 {
		return h.fail("AUTH", setupError{"no login by PLAIN or LOGIN offered", "look at the port and at the settings of the server"})
	}
	var refusal *SendError
	for i, name := range try {
		err := h.authenticate(name)
		if err == nil {
			h.sender.mechanisms.accepted(name)
			return nil
		}
		failed := h.fail("AUTH", err)
		if refusal != nil && !failed.refused() {
			refusal.untriedLogin = true // the server closed the connection after the first
			break
		}
		refusal = failed
		if failed.Code < 500 && !failed.ConfigurationFault() {
			break // the reply concerns neither the mechanism nor the password
		}
		h.sender.mechanisms.refused(name, offered, i+1 == len(try))
	}
	return refusal
}

// authenticate runs one mechanism. It does not use Auth of the client, which sends another
// line after a refusal.
func (h *handshake) authenticate(name string) error {
	answers := [][]byte{[]byte(h.cfg.Username), []byte(h.cfg.Password)}
	if name == plain {
		answers = [][]byte{[]byte("\x00" + h.cfg.Username + "\x00" + h.cfg.Password)}
	}
	d, limit := newDialogue(h.wire), h.cfg.Timeouts.Command
	command := "AUTH " + name
	if name == plain {
		initial := base64.StdEncoding.EncodeToString(answers[0])
		if len(command)+len(" ")+len(initial)+len("\r\n") <= maxCommandLine {
			command += " " + initial
		}
	}
	code, text, err := d.ask(limit, command)
	for err == nil && code == 334 {
		// Prompts are answered by their order, because their words differ between servers.
		if len(answers) == 0 {
			_, _, _ = d.ask(limit, "*") // cancels, RFC 4954 section 4
			return errChallenge
		}
		code, text, err = d.ask(limit, base64.StdEncoding.EncodeToString(answers[0]))
		answers = answers[1:]
	}
	if err == nil && code/100 != 2 {
		err = &textproto.Error{Code: code, Msg: text}
	}
	return err
}

// loginSecrets returns the forms in which the server may repeat the password.
func (c *Config) loginSecrets() redact.Secrets {
	if c.Password == "" {
		return redact.Secrets{}
	}
	encode := base64.StdEncoding.EncodeToString
	return redact.Secrets{Login: []string{
		c.Password,
		encode([]byte(c.Password)),
		encode([]byte("\x00" + c.Username + "\x00" + c.Password)),
	}}
}

// mechanismKeeper records which login mechanism the server accepts.
type mechanismKeeper struct {
	mu      sync.Mutex
	first   string // tried first; "": PLAIN
	decided bool   // one was accepted, or both were refused: no second attempt
	trying  bool   // a login is trying both: other logins try one
}

// choose returns the mechanisms to try, in order. The caller must call done after the attempt.
func (k *mechanismKeeper) choose(offered []string) (try []string, done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range []string{k.first, plain, loginWords} {
		if slices.Contains(offered, name) && !slices.Contains(try, name) {
			try = append(try, name)
		}
	}
	if len(try) < 2 {
		return try, func() {}
	}
	if k.decided || k.trying {
		return try[:1], func() {}
	}
	k.trying = true
	return try, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.trying = false
	}
}

// accepted records the mechanism of a successful login.
func (k *mechanismKeeper) accepted(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.first, k.decided = name, true
}

// refused records a refusal. last means that no other mechanism is left. The next login begins
// with the other mechanism, so that they alternate until the password is correct.
func (k *mechanismKeeper) refused(name string, offered []string, last bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	other := plain
	if name == plain {
		other = loginWords
	}
	if slices.Contains(offered, other) {
		k.first, k.decided = other, last || k.decided
	}
}

func isLoopbackAddr(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
