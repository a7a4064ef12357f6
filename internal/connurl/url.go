// Package connurl reads connection URLs as people, hosts and Celery write them,
// and shows them without their secrets.
//
// Its rules are those of kombu and SQLAlchemy, which net/url does not share: a
// password may hold most special characters as they are. No error of this
// package repeats any part of a URL but the names of parameters.
package connurl

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Masked takes the place of a secret.
const Masked = "***"

// Fault tells what is wrong with a URL, without any part of its text.
type Fault struct {
	Wrong string // such as "it has no host"
	Right string // the remedy
}

// Error returns both as one line.
func (f *Fault) Error() string { return f.Wrong + "; " + f.Right }

// escape is the remedy for a password that cuts its URL into pieces.
const escape = "write the special characters of the password as %XX: # as %23, / as %2F, ? as %3F, @ as %40, : as %3A, ; as %3B"

// URL is a connection URL in parts, decoded.
type URL struct {
	Scheme   string // in lower case
	User     string
	Password string
	Login    bool   // there is an @, perhaps with nothing before it
	Hosts    []Host // one at least; an empty one where the URL names none
	Path     string // with its slash
	Query    url.Values
}

// Host is one host of a URL. Port is "" where there is none.
type Host struct{ Name, Port string }

var schemeForm = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)

// IsSocket reports whether the scheme is one of a path in the file system.
func (u *URL) IsSocket() bool { return isSocket(u.Scheme) }

func isSocket(scheme string) bool {
	return slices.Contains([]string{"redis+socket", "socket", "unix"}, scheme)
}

// Parse takes a URL apart. The login is everything up to the last @ of the
// authority, which ends at the first of / ? and #. An @ or a # behind that is
// refused: it nearly always belongs to a password. The error is a [*Fault].
func Parse(raw string) (*URL, error) {
	match := schemeForm.FindStringSubmatch(raw)
	if match == nil {
		return nil, &Fault{"it does not begin with a scheme", "begin with the scheme"}
	}
	if strings.ContainsFunc(raw, unicode.IsControl) {
		return nil, &Fault{"it has a control character in it", "write it without, or as %XX"}
	}
	u := &URL{Scheme: strings.ToLower(match[1])}
	authority, rest := raw[len(match[0]):], ""
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority, rest = authority[:i], authority[i:]
	}
	if err := u.checkRest(authority, rest); err != nil {
		return nil, err
	}
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		u.Login, u.User, u.Password = true, unescape(user), unescape(password)
		authority = authority[i+1:]
	}
	path, query, _ := strings.Cut(rest, "?")
	u.Path, u.Query = unescape(path), parseQuery(query)
	for part := range strings.SplitSeq(authority, ",") {
		h, err := parseHost(part)
		if err != nil {
			return nil, err
		}
		u.Hosts = append(u.Hosts, h)
	}
	return u, nil
}

// checkRest refuses what stands behind the authority and looks like a part of
// the password. The path of a socket may have an @.
func (u *URL) checkRest(authority, rest string) error {
	if authority == "" && u.IsSocket() {
		path, query, _ := strings.Cut(rest, "?")
		if !strings.Contains(path, "#") {
			rest = query
		}
	}
	switch {
	case strings.Contains(rest, "@"):
		return &Fault{"it has an @ behind the host, so that its password ends too soon", escape}
	case strings.Contains(rest, "#"):
		return &Fault{"it has a # behind the host", "leave out the # and what follows, or " + escape}
	}
	return nil
}

// parseHost reads name, name:port or [address]:port.
func parseHost(text string) (Host, error) {
	name, port := text, ""
	if i := strings.LastIndex(text, ":"); i >= 0 && i > strings.LastIndex(text, "]") {
		name, port = text[:i], text[i+1:]
	}
	name = unescape(name)
	if inner, ok := strings.CutPrefix(name, "["); ok && strings.HasSuffix(inner, "]") {
		name = strings.TrimSuffix(inner, "]")
	} else if strings.ContainsAny(name, "[]:") && !isPath(name) {
		return Host{}, &Fault{"its host has colons or brackets inside", "write the address of IPv6 in brackets, as in [::1]:6379, or " + escape}
	}
	if !isPath(name) && strings.ContainsFunc(name, notInHost) {
		return Host{}, &Fault{"its host is not the name of one", escape}
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return Host{}, &Fault{"its port is out of range: not a number from 1 to 65535", escape}
	}
	return Host{name, port}, nil
}

// isPath reports whether the host is the folder of a socket, or one of the
// abstract name space.
func isPath(name string) bool { return strings.HasPrefix(name, "/") || strings.HasPrefix(name, "@") }

func notInHost(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune("\"'<>\\^`{|};/?#@!$&*()=+", r)
}

// parseQuery is as lenient as Python's parse_qsl, which leaves out parameters
// without a value.
func parseQuery(text string) url.Values {
	query := url.Values{}
	for part := range strings.SplitSeq(text, "&") {
		name, value, _ := strings.Cut(part, "=")
		if value != "" {
			query.Add(unescape(strings.ReplaceAll(name, "+", " ")), unescape(strings.ReplaceAll(value, "+", " ")))
		}
	}
	return query
}

// unescape decodes what is percent-encoded and leaves any other % as it is, like
// Python's unquote.
func unescape(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

var loosePercent = regexp.MustCompile(`%(?:$|[^0-9A-Fa-f]|[0-9A-Fa-f](?:$|[^0-9A-Fa-f]))`)

// hasLoosePercent reports whether a % is not part of an escape.
func hasLoosePercent(text string) bool { return loosePercent.MatchString(text) }

// String writes the URL with everything encoded that any reader might stumble
// over. The password is in it.
func (u *URL) String() string { return u.write(u.userinfo(), u.Query) }

func (u *URL) userinfo() *url.Userinfo {
	switch {
	case u.Password != "":
		return url.UserPassword(u.User, u.Password)
	case u.User != "":
		return url.User(u.User)
	}
	return nil
}

func (u *URL) write(user *url.Userinfo, query url.Values) string {
	var b strings.Builder
	b.WriteString(u.Scheme + "://")
	if user != nil {
		b.WriteString(user.String() + "@")
	}
	b.WriteString(JoinHosts(u.Hosts))
	b.WriteString((&url.URL{Path: u.Path}).EscapedPath())
	if len(query) > 0 {
		b.WriteString("?" + query.Encode())
	}
	return b.String()
}

// JoinHosts writes hosts as they stand in a URL.
func JoinHosts(hosts []Host) string {
	parts := make([]string, len(hosts))
	for i, h := range hosts {
		switch {
		case isPath(h.Name):
			parts[i] = url.QueryEscape(h.Name)
		case strings.Contains(h.Name, ":"):
			parts[i] = "[" + h.Name + "]"
		default:
			parts[i] = h.Name
		}
		if h.Port != "" {
			parts[i] += ":" + h.Port
		}
	}
	return strings.Join(parts, ",")
}

// Address returns the first host as host:port.
func (u *URL) Address(host, port string) string {
	h := u.Hosts[0]
	if h.Name != "" {
		host = h.Name
	}
	if h.Port != "" {
		port = h.Port
	}
	return net.JoinHostPort(host, port)
}

// shown are the parameters whose values are no secrets. Those of all others are
// masked: a name tells little about its value.
var shown = []string{
	"db", "virtual_host", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile",
	"health_check_interval", "socket_timeout", "socket_connect_timeout", "protocol",
	"host", "port", "dbname", "sslmode", "sslrootcert", "connect_timeout", "application_name", "channel_binding",
	"target_session_attrs", "load_balance_hosts", "pgbouncer",
	"max_conns", "hello", "ca_file", "token_file", "master_name",
}

// Redact returns raw with "***" instead of everything that may be a secret.
// Of a URL that cannot be taken apart for certain only the scheme is left.
func Redact(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := Parse(raw)
	if err != nil || strings.Contains(raw, ";") {
		if match := schemeForm.FindStringSubmatch(raw); match != nil {
			return match[0] + Masked
		}
		return Masked // a password in the wrong place, for all we know
	}
	return u.Redacted()
}

// Redacted returns the URL for people: without the password and without the
// values of parameters that may be secret. A lone user is masked too, as it may
// be a password that lacks its colon.
func (u *URL) Redacted() string {
	var user string
	switch {
	case u.Password != "":
		user = url.User(u.User).String() + ":" + Masked + "@"
	case u.Login && u.User != "":
		user = Masked + "@"
	}
	query := url.Values{}
	for name, values := range u.Query {
		if slices.Contains(shown, name) {
			query[name] = values
		} else {
			query[name] = []string{Masked}
		}
	}
	text := u.write(nil, query)
	text = strings.ReplaceAll(text, url.QueryEscape(Masked), Masked)
	return strings.Replace(text, "://", "://"+user, 1)
}
