package mail

import (
	"context"
	"encoding/base64"
	"net"
	"net/textproto"
	"slices"
	"sync"

	"github.com/evently/workers/mail/internal/oauth"
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
		return h.fail("AUTH", setupError{"no TLS", "the password or token would be readable on its way"})
	}
	pair := h.credential.mechanisms()
	try, done := h.sender.mechanisms.choose(pair, offered)
	defer done()
	if len(try) == 0 {
		return h.fail("AUTH", setupError{"no login by " + pair[0] + " or " + pair[1] + " offered", "look at the port and at the settings of the server"})
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
		h.sender.mechanisms.refused(pair, name, offered, i+1 == len(try))
	}
	return refusal
}

// authenticate runs one mechanism. It does not use Auth of the client, which sends another
// line after a refusal.
func (h *handshake) authenticate(name string) error {
	answers, initial := h.credential.answers(name, h.cfg)
	d, limit := newDialogue(h.wire), h.cfg.Timeouts.Command
	command := "AUTH " + name
	if initial {
		response := base64.StdEncoding.EncodeToString(answers[0])
		if len(command)+len(" ")+len(response)+len("\r\n") <= maxCommandLine {
			command += " " + response
			answers = answers[1:]
		}
	}
	status := "" // of a refused token
	code, text, err := d.ask(limit, command)
	for err == nil && code == 334 {
		// Prompts are answered by their order, because their words differ between servers.
		if len(answers) == 0 {
			_, _, _ = d.ask(limit, "*") // cancels, RFC 4954 section 4
			return errChallenge
		}
		if h.credential.token && len(answers) == 1 {
			status = oauth.Status(text)
		}
		code, text, err = d.ask(limit, base64.StdEncoding.EncodeToString(answers[0]))
		answers = answers[1:]
	}
	if err == nil && code/100 != 2 {
		if status != "" {
			text += " (status " + status + ")"
		}
		err = &textproto.Error{Code: code, Msg: text}
	}
	return err
}

// credential is what a login sends.
type credential struct {
	user, secret string
	token        bool // secret is an access token
}

// mechanisms returns the mechanisms for the credential, the preferred one first.
func (c credential) mechanisms() [2]string {
	if c.token {
		return [2]string{oauth.Bearer, oauth.XOAuth2}
	}
	return [2]string{plain, loginWords}
}

// answers returns the answers to the prompts of a mechanism. initial reports whether the first
// one may be sent with the command. The last answer of a token is to the challenge that tells
// of its refusal.
func (c credential) answers(mechanism string, cfg *Config) (answers [][]byte, initial bool) {
	switch {
	case c.token:
		return [][]byte{oauth.Response(mechanism, c.user, c.secret, cfg.Host, cfg.Port), oauth.Acknowledgement(mechanism)}, true
	case mechanism == plain:
		return [][]byte{[]byte("\x00" + c.user + "\x00" + c.secret)}, true
	}
	return [][]byte{[]byte(c.user), []byte(c.secret)}, false
}

// forms returns the forms in which the server may repeat the secret.
func (c credential) forms() redact.Secrets {
	if c.secret == "" {
		return redact.Secrets{}
	}
	encode := base64.StdEncoding.EncodeToString
	all := redact.Secrets{Login: []string{c.secret, encode([]byte(c.secret)), encode([]byte("\x00" + c.user + "\x00" + c.secret))}}
	if c.token {
		cfg := &Config{}
		for _, name := range c.mechanisms() {
			answers, _ := c.answers(name, cfg)
			all.Login = append(all.Login, encode(answers[0]))
		}
	}
	return all
}

// Credentials are a user and a password.
type Credentials struct{ Username, Password string }

// CredentialSource gives the login of each new connection. Its methods may be called by several
// goroutines.
type CredentialSource interface {
	// Next returns the login to try. If the server refuses it, Next is called again for the
	// same mail, with the refused ones. It may then return a newer login or the previous
	// one, up to three in all. Returning one of them again, or an error, ends the attempt.
	Next(ctx context.Context, refused []Credentials) (Credentials, error)
	// Accepted is called with a login that the server has accepted.
	Accepted(Credentials)
}

// maxLogins bounds the logins that one mail tries.
const maxLogins = 3

// public returns the credential as a [CredentialSource] has it.
func (c credential) public() Credentials { return Credentials{c.user, c.secret} }

// refusesLogin reports whether the server refuses the user or the password, so that another
// login may be accepted.
func (e *SendError) refusesLogin() bool {
	return e.Command == "AUTH" && e.refused() && (e.Code >= 500 || e.ConfigurationFault())
}

// credentialKeeper knows the last secrets. Its methods may be called by several goroutines.
type credentialKeeper struct {
	hidden redact.Live // the forms of the last ones, and the secrets of the process

	mu   sync.Mutex
	last []credential // at most keptGuards, the latest first
}

// read returns the credential for a login. It reads a token from its file each time, because
// tokens live for about an hour and another program replaces them. refused are the logins that
// the server has refused for this mail.
func (k *credentialKeeper) read(ctx context.Context, cfg *Config, refused []Credentials) (credential, *SendError) {
	c := credential{user: cfg.Username, secret: cfg.Password}
	switch {
	case cfg.TokenFile != "":
		token, err := oauth.ReadToken(cfg.TokenFile)
		if err != nil {
			return credential{}, &SendError{Command: "AUTH", Err: setupError{"no access token", err.Error()}}
		}
		c.secret, c.token = token, true
	case cfg.Credentials != nil:
		next, err := cfg.Credentials.Next(ctx, refused)
		if err != nil {
			return credential{}, &SendError{Command: "AUTH", Err: setupError{"no password", err.Error()}}
		}
		c.user, c.secret = next.Username, next.Password
	default:
		return c, nil // Config.Password is hidden in any case
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Contains(k.last, c) {
		k.last = slices.Insert(k.last, 0, c)
		k.last = k.last[:min(len(k.last), keptGuards)]
		var forms []string
		for _, one := range k.last {
			forms = append(forms, one.forms().Login...)
		}
		k.hidden.SetLogins(forms)
	}
	return c, nil
}

// mechanismKeeper records which login mechanism the server accepts.
type mechanismKeeper struct {
	mu      sync.Mutex
	first   string // tried first; "": the preferred one
	decided bool   // one was accepted, or both were refused: no second attempt
	trying  bool   // a login is trying both: other logins try one
}

// choose returns the mechanisms to try, in order. The caller must call done after the attempt.
func (k *mechanismKeeper) choose(pair [2]string, offered []string) (try []string, done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range []string{k.first, pair[0], pair[1]} {
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
func (k *mechanismKeeper) refused(pair [2]string, name string, offered []string, last bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	other := pair[0]
	if name == pair[0] {
		other = pair[1]
	}
	if slices.Contains(offered, other) {
		k.first, k.decided = other, last || k.decided
	}
}

func isLoopbackAddr(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
