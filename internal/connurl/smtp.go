package connurl

import (
	"strconv"
	"strings"

	"github.com/evently/workers/internal/sorting"
)

// SMTPForms tells how the URL of a mail relay is written.
const SMTPForms = "write smtp://user:password@host:587 for STARTTLS, smtps://user:password@host:465 for implicit TLS, or smtp+plain://host:25 for no TLS"

// SMTP is a mail relay as a URL names it. Text that is empty, and MaxConns of 0, are not set.
type SMTP struct {
	TLSMode   string // "starttls", "implicit" or "none"
	Host      string
	Port      int // the usual one if the URL names none
	User      string
	Password  string
	MaxConns  int    // ?max_conns=
	HelloName string // ?hello=
	CAFile    string // ?ca_file=
	TokenFile string // ?token_file=
}

// smtpSchemes holds the mode of TLS and the usual port of each scheme.
var smtpSchemes = map[string]struct {
	mode string
	port int
}{"smtp": {"starttls", 587}, "smtps": {"implicit", 465}, "smtp+plain": {"none", 25}}

// ParseSMTP reads the URL of one mail relay. The error is a [*Fault].
func ParseSMTP(raw string) (*SMTP, error) {
	u, err := Parse(raw)
	if err != nil {
		return nil, withForms(err, SMTPForms)
	}
	scheme, ok := smtpSchemes[u.Scheme]
	switch {
	case !ok:
		return nil, &Fault{"its scheme is not that of a mail relay", SMTPForms}
	case len(u.Hosts) > 1 || strings.Trim(u.Path, "/") != "":
		return nil, &Fault{"it has more than one host, or a path", "write one URL for each host, with spaces between them; " + SMTPForms}
	case u.Hosts[0].Name == "" || isPath(u.Hosts[0].Name):
		return nil, &Fault{"it has no host", SMTPForms}
	case hasLoosePercent(raw):
		return nil, &Fault{"it has a % that two hexadecimal digits do not follow", "write % in a password as %25; " + SMTPForms}
	}
	s := &SMTP{TLSMode: scheme.mode, Host: u.Hosts[0].Name, Port: scheme.port, User: u.User, Password: u.Password}
	if port := u.Hosts[0].Port; port != "" {
		s.Port, _ = strconv.Atoi(port) // Parse checked it
	}
	if err := s.readQuery(u); err != nil {
		return nil, err
	}
	switch secret := s.Password != "" || s.TokenFile != ""; {
	case u.Login && s.User == "":
		return nil, &Fault{"it has a password, but no user", SMTPForms}
	case u.Login && !secret:
		return nil, &Fault{"it has a user, but neither a password nor a token_file", SMTPForms}
	case s.Password != "" && s.TokenFile != "":
		return nil, &Fault{"it has a password and a token_file", "write one of them"}
	case s.TokenFile != "" && !u.Login:
		return nil, &Fault{"it has a token_file, but no user", "write smtp://user@host:587?token_file=/path"}
	}
	return s, nil
}

func (s *SMTP) readQuery(u *URL) error {
	for _, name := range sorting.Keys(u.Query) {
		value := u.Query.Get(name)
		switch name {
		case "max_conns":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 10000 {
				return &Fault{"its max_conns is not a number of connections", "write a number from 1 to 10000"}
			}
			s.MaxConns = n
		case "hello":
			s.HelloName = value
		case "ca_file":
			s.CAFile = value
		case "token_file":
			s.TokenFile = value
		default:
			return &Fault{"it has a parameter " + quoteName(name) + ", which is not known", "write max_conns, hello, ca_file or token_file"}
		}
	}
	return nil
}
