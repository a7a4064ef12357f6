package mail

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/evently/workers/internal/loopback"
	"github.com/evently/workers/mail/internal/dkim"
	"github.com/evently/workers/mail/verp"
)

// Security is the protection of the connection to the server.
type Security int

const (
	// StartTLS upgrades a plain connection by STARTTLS (RFC 3207), usually on port 587.
	// A server that does not offer STARTTLS gets no mail.
	StartTLS Security = iota
	// ImplicitTLS begins with the TLS handshake (RFC 8314), usually on port 465.
	ImplicitTLS
	// Plain sends mails without encryption, for relays on the same machine or network.
	// Passwords are sent to loopback addresses only.
	Plain
)

func (s Security) String() string {
	switch s {
	case StartTLS:
		return "starttls"
	case ImplicitTLS:
		return "implicit"
	case Plain:
		return "none"
	}
	return fmt.Sprintf("Security(%d)", int(s))
}

// Config is the configuration of a [Sender]. Host and FromAddress are required.
type Config struct {
	Host string // name of the submission server; certificates are checked against it
	Port int    // 0: 587 with StartTLS, 465 with ImplicitTLS, 25 with Plain

	// Username and Password are for the login (RFC 4954), if both are set. It uses PLAIN,
	// or LOGIN if the server lacks PLAIN or refuses it.
	Username string
	Password string

	// Credentials gives the login of each new connection, instead of Username and Password,
	// so that a password can be replaced without a restart. It is not asked with a
	// TokenFile. nil: the login is fixed.
	Credentials CredentialSource

	// TokenFile is a file with an OAuth 2.0 access token for Username, instead of
	// Password. The login uses OAUTHBEARER (RFC 7628), or XOAUTH2 if the server lacks that
	// or refuses it. Each login reads the file, so another program may replace the token.
	TokenFile string

	Security  Security
	TLSCAFile string         // PEM file of the trusted authorities; "": RootCAs
	RootCAs   *x509.CertPool // nil: the authorities of the system

	FromName    string // display name, may be empty
	FromAddress string // sender in header and envelope; Message-IDs have its domain
	ReplyTo     string // address for replies; "": none

	// BounceDomain gives every mail a separate envelope sender in that domain, by which
	// package verp recognises its bounces. "": bounces go to FromAddress. BounceKeys are
	// the secrets for it, the one in use first. Many servers refuse senders of domains
	// that they do not know.
	BounceDomain string
	BounceKeys   []string

	// HelloName is the name of this host in EHLO. The default is the host name if it
	// contains a dot, and else the domain of FromAddress: many servers require a fully
	// qualified name, and containers have none. localhost is accepted for Plain to
	// loopback only, because it is a mark of spam elsewhere.
	HelloName string

	MaxConns           int           // connections at a time, 0: 4
	MaxMessagesPerConn int           // mails on one connection, 0: 100
	MaxAge             time.Duration // age from which a connection is not reused, 0: 5 min
	IdleTimeout        time.Duration // time until an unused connection is closed, 0: 30 s

	// NoPipelining sends each command after the reply to the one before, and NoChunking
	// sends mails by DATA, although the server offers PIPELINING (RFC 2920) and CHUNKING
	// (RFC 3030). Servers that offer them and cannot do them are found out without this.
	NoPipelining bool
	NoChunking   bool

	DKIM DKIM // signatures of the mails

	// Secrets are further texts besides Password that no error and no log may show, such
	// as the passwords of other servers. They are removed from the words of the server,
	// which are logged. Texts of less than four characters are ignored.
	Secrets []string

	// LoginPause is the pause after a refused login, 0: 10 s. It doubles with each
	// refusal, up to 20 seconds. During the pause mails fail with the same refusal.
	LoginPause time.Duration

	Timeouts Timeouts

	Logger *slog.Logger // nil: no logs

	hostName string // of this machine, if HelloName was empty
	signers  []*dkim.Signer
}

// String returns the server without the password. It is used by all ways of printing a
// Config.
func (c Config) String() string { return fmt.Sprintf("%s:%d (%v)", c.Host, c.Port, c.Security) }

// GoString returns [Config.String].
func (c Config) GoString() string { return c.String() }

// LogValue returns [Config.String].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// ConfigError is one fault of a [Config].
type ConfigError struct {
	Field  string // such as "FromAddress" or "Timeouts.Dial"
	Reason string // the fault; never the password
	Want   string // a correct value
	Err    error  // the cause, if any
}

func (e *ConfigError) Error() string { return e.Field + ": " + e.Reason + "; want " + e.Want }
func (e *ConfigError) Unwrap() error { return e.Err }

// Check returns all faults for which [New] refuses c. Each is a [*ConfigError], joined by
// [errors.Join].
func (c Config) Check() error {
	_, faults := c.check()
	return errors.Join(faults...)
}

// check fills in the defaults. It returns the parsed identity and all faults.
func (c *Config) check() (identity, []error) {
	faults := &configFaults{}
	c.checkServer(faults)
	c.checkLogin(faults)
	c.checkHello(faults)
	c.readRoots(faults)
	id := c.identity(faults)
	c.checkDKIM(id.from, faults)
	if c.HelloName == "" {
		c.hostName, _ = os.Hostname()
		c.HelloName = defaultHello(c.hostName, id.from.Domain)
	}
	c.fillNumbers(faults)
	c.fillDurations(faults)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return id, faults.all
}

// configFaults collects the faults of a [Config].
type configFaults struct{ all []error }

func (f *configFaults) add(field, want, reason string, args ...any) {
	f.all = append(f.all, &ConfigError{Field: field, Reason: fmt.Sprintf(reason, args...), Want: want})
}

func (c *Config) checkServer(faults *configFaults) {
	c.Host, c.HelloName = asciiHost(c.Host), asciiHost(c.HelloName)
	if c.Security < StartTLS || c.Security > Plain {
		faults.add("Security", "StartTLS, ImplicitTLS or Plain", "%v is unknown", c.Security)
	}
	if reason := checkHost(c.Host); reason != "" {
		faults.add("Host", "the name or IP address of the SMTP server", "%s", reason)
	}
	if c.Port == 0 {
		c.Port = map[Security]int{StartTLS: 587, ImplicitTLS: 465, Plain: 25}[c.Security]
	}
	if c.Port < 0 || c.Port > 65535 {
		faults.add("Port", "1 to 65535", "%d is no port", c.Port)
	}
}

func (c *Config) checkLogin(faults *configFaults) {
	if c.login() && c.Security == Plain && !isLoopback(c.Host) {
		faults.add("Security", "TLS, or no username and password", "the password would be readable on its way to %s", c.Host)
	}
	switch {
	case c.TokenFile == "":
	case c.Username == "":
		faults.add("TokenFile", "a Username as well", "it is of no use without a user")
	case c.Password != "":
		faults.add("TokenFile", "a Password or a TokenFile", "there is a Password as well")
	case strings.ContainsAny(c.Username, "\x01\r\n"):
		faults.add("Username", "text", "a control character in it cannot be sent")
	}
	if strings.ContainsRune(c.Username, 0) {
		faults.add("Username", "text", "a NUL in it cannot be sent")
	}
	if strings.ContainsRune(c.Password, 0) {
		faults.add("Password", "text", "a NUL in it cannot be sent")
	}
}

func (c *Config) fillNumbers(faults *configFaults) {
	for _, n := range []struct {
		name  string
		value *int
		def   int
	}{
		{"MaxConns", &c.MaxConns, 4},
		{"MaxMessagesPerConn", &c.MaxMessagesPerConn, 100},
	} {
		if *n.value < 0 {
			faults.add(n.name, fmt.Sprintf("1 or more, or 0 for %d", n.def), "%d is negative", *n.value)
		}
		*n.value = cmp.Or(*n.value, n.def)
	}
}

func (c *Config) fillDurations(faults *configFaults) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"MaxAge", &c.MaxAge, 5 * time.Minute},
		{"IdleTimeout", &c.IdleTimeout, 30 * time.Second},
		{"LoginPause", &c.LoginPause, 10 * time.Second},
		{"Timeouts.Dial", &c.Timeouts.Dial, 10 * time.Second},
		{"Timeouts.TLS", &c.Timeouts.TLS, 10 * time.Second},
		{"Timeouts.Greeting", &c.Timeouts.Greeting, 30 * time.Second},
		{"Timeouts.Command", &c.Timeouts.Command, 30 * time.Second},
		{"Timeouts.BodyWrite", &c.Timeouts.BodyWrite, 30 * time.Second},
		{"Timeouts.Final", &c.Timeouts.Final, 120 * time.Second},
		{"Timeouts.Quit", &c.Timeouts.Quit, 2 * time.Second},
	} {
		if *d.value < 0 {
			faults.add(d.name, fmt.Sprintf("more than 0, or 0 for %v", d.def), "%v is negative", *d.value)
		}
		*d.value = cmp.Or(*d.value, d.def)
	}
}

func (c *Config) login() bool {
	return c.Credentials != nil || c.Username != "" && (c.Password != "" || c.TokenFile != "")
}

func (c *Config) checkHello(faults *configFaults) {
	const want = "the name of this host, or nothing"
	if c.HelloName == "" {
		return // see defaultHello
	}
	if reason := checkHelloName(c.HelloName); reason != "" {
		faults.add("HelloName", want, "%s", reason)
	} else if isLocalhost(c.HelloName) && !(c.Security == Plain && isLoopback(c.Host)) {
		faults.add("HelloName", want, "localhost is a mark of spam")
	}
}

// defaultHello returns the name for EHLO: host if it is fully qualified, as RFC 5321 section
// 4.1.4 requires, and else domain.
func defaultHello(host, domain string) string {
	host = strings.TrimSuffix(host, ".")
	if strings.Contains(host, ".") && checkHelloName(host) == "" && !isLocalhost(host) {
		return host
	}
	return domain
}

// identity is the sender of every mail.
type identity struct {
	name    string
	from    Address
	replyTo string
	bounces *verp.Tagger // nil: bounces go to from
}

func (c *Config) identity(faults *configFaults) (id identity) {
	id.name = c.FromName
	if reason := checkHeaderText(c.FromName); reason != "" {
		faults.add("FromName", "plain text of one line", "%s", reason)
	}
	address := func(field, text, whyASCII string) Address {
		a, err := ParseAddress(text)
		reason := "not ASCII: " + whyASCII
		switch bad, ok := errors.AsType[*AddressError](err); {
		case ok:
			reason = bad.Reason
		case err == nil && !a.UTF8():
			return a
		}
		faults.all = append(faults.all, &ConfigError{Field: field, Reason: reason, Want: "an address like mail@example.com", Err: err})
		return Address{}
	}
	id.from = address("FromAddress", c.FromAddress, "many servers could send no bounce to it")
	if c.ReplyTo != "" {
		id.replyTo = address("ReplyTo", c.ReplyTo, "it would make every mail need SMTPUTF8").String()
	}
	id.bounces = c.bounces(faults)
	return id
}

func (c *Config) bounces(faults *configFaults) *verp.Tagger {
	if c.BounceDomain == "" {
		return nil
	}
	domain, reason := asciiDomain(c.BounceDomain)
	if reason != "" {
		faults.add("BounceDomain", "a domain like bounces.example.com", "%s", reason)
		return nil
	}
	bounces, err := verp.New(domain, c.BounceKeys...)
	if err != nil {
		want := fmt.Sprintf("secrets of at least %d octets", verp.MinKey)
		faults.all = append(faults.all, &ConfigError{Field: "BounceKeys", Reason: err.Error(), Want: want, Err: err})
	}
	return bounces
}

// readRoots replaces RootCAs by the certificates of TLSCAFile, if that is set.
func (c *Config) readRoots(faults *configFaults) {
	if c.TLSCAFile == "" {
		return
	}
	pem, err := os.ReadFile(c.TLSCAFile)
	c.RootCAs = x509.NewCertPool()
	if err == nil && !c.RootCAs.AppendCertsFromPEM(pem) {
		err = fmt.Errorf("there is no certificate in %s", c.TLSCAFile)
	}
	if err != nil {
		faults.all = append(faults.all, &ConfigError{Field: "TLSCAFile", Reason: err.Error(), Want: "a PEM file of certificates", Err: err})
	}
}

// asciiHost returns an internationalised host name as A-labels, and other names as they are.
func asciiHost(host string) string {
	if isASCII(host) {
		return host
	}
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		return ascii
	}
	return host
}

func checkHost(host string) string {
	if host == "" {
		return "empty"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return checkHelloName(host)
}

// checkHelloName returns the fault of a host name, or "". It accepts underscores, which
// container platforms use.
func checkHelloName(name string) string {
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		ip := strings.TrimPrefix(name[1:len(name)-1], "IPv6:")
		if _, err := netip.ParseAddr(ip); err != nil {
			return "not an address literal"
		}
		return ""
	}
	if len(name) > 253 || !utf8.ValidString(name) {
		return "not a host name"
	}
	for label := range strings.SplitSeq(strings.ToLower(name), ".") {
		if !isLabel(strings.ReplaceAll(label, "_", "x")) {
			return "not a host name"
		}
	}
	return ""
}

func isLocalhost(name string) bool {
	name = strings.ToLower(name)
	return name == "localhost" || strings.HasPrefix(name, "localhost.") || strings.HasSuffix(name, ".localhost")
}

// isLoopback reports whether host is this machine by its name or address.
func isLoopback(host string) bool {
	return isLocalhost(host) || loopback.Is(host)
}
