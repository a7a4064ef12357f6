package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/internal/loopback"
)

// secretURL is a URL that may have a password in it.
type secretURL struct {
	setting
	value Secret
}

func (s *secretURL) Decode(value string) error {
	s.value = Secret{}
	if s.takeAs(value, urlLike) {
		s.value = NewSecret(s.text)
	}
	s.text = connurl.Redact(s.text)
	return nil
}

func (s *secretURL) kind() string { return "URL" }

// relayURLs are the URLs of mail relays, which may have passwords in them.
type relayURLs struct {
	setting
	value []*connurl.SMTP
	at    []int // position of each value in the text, from 1
}

func (r *relayURLs) Decode(value string) error {
	r.value, r.at = nil, nil
	if !r.takeAs(value, urlLike) {
		r.text = ""
		return nil
	}
	var shown, wrong []string
	right := ""
	for i, raw := range strings.Fields(r.text) {
		s, err := connurl.ParseSMTP(raw)
		shown = append(shown, connurl.Redact(raw))
		if f, ok := errors.AsType[*connurl.Fault](err); ok {
			wrong, right = append(wrong, fmt.Sprintf("URL %d: %s", i+1, f.Wrong)), cmp.Or(right, f.Right)
			continue
		}
		r.value, r.at = append(r.value, s), append(r.at, i+1)
	}
	r.text = strings.Join(shown, " ")
	if len(wrong) > 0 {
		r.text = masked // a space may have torn a password
		r.mistake(strings.Join(wrong, "; "), right+"; and %20 for a space in a password")
	}
	return nil
}

func (r *relayURLs) kind() string { return "list of URLs" }

// namedURLs are the URLs of several brokers with their names. The URLs may have passwords in
// them.
type namedURLs struct {
	setting
	value []namedURL
}

// namedURL is one broker of namedURLs.
type namedURL struct{ name, raw string }

// mostBrokers bounds the brokers of one process: each has connections and goroutines of its own.
const mostBrokers = 16

const rightBrokers = "write names and URLs with spaces between them, such as eu=redis://:password@eu:6379/0 us=rediss://us:6379/0; a name has up to 32 small letters, digits and hyphens; special characters of a password as %XX"

// brokerStart matches where a broker begins: a URL may have commas and equal signs in it, but
// no second name with a scheme.
var brokerStart = regexp.MustCompile(`(?:^|[\s,]+)([^\s,=:/@]*)=([A-Za-z][A-Za-z0-9+.-]*://)`)

var brokerName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$`)

func (b *namedURLs) Decode(value string) error {
	b.value = nil
	if !b.takeAs(value, urlLike) {
		b.text = ""
		return nil
	}
	starts := brokerStart.FindAllStringSubmatchIndex(b.text, -1)
	if len(starts) == 0 || starts[0][0] != 0 {
		b.text = masked // a password, for all that is known
		b.mistake("it does not begin with a name and a URL", rightBrokers)
		return nil
	}
	if len(starts) > mostBrokers {
		b.text = masked
		b.mistake(fmt.Sprintf("it has %d brokers", len(starts)), fmt.Sprintf("name %d at most in one process", mostBrokers))
		return nil
	}
	var shown []string
	for i, at := range starts {
		end := len(b.text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		name, raw := b.text[at[2]:at[3]], strings.Trim(b.text[at[4]:end], ", \t")
		b.add(name, raw)
		shown = append(shown, name+"="+connurl.Redact(raw))
	}
	if b.text = strings.Join(shown, " "); b.wrong != "" {
		b.text = masked // a space may have torn a password
	}
	return nil
}

// add adds a broker, or notes what is wrong with it.
func (b *namedURLs) add(name, raw string) {
	switch {
	case !brokerName.MatchString(name):
		b.mistake("the name of a broker is empty, or has other characters than small letters, digits and hyphens", rightBrokers)
		return
	case slices.ContainsFunc(b.value, func(other namedURL) bool { return other.name == name }):
		b.mistake("the name "+name+" is there twice", "name each broker once")
		return
	case strings.ContainsAny(raw, " \t"):
		b.mistake("the URL of "+name+" has a space in it", "write %20 for a space in a password, and name=URL for each broker")
		return
	}
	b.value = append(b.value, namedURL{name, raw})
}

func (b *namedURLs) kind() string { return "list of name=URL" }

// webURL is the address of a web site.
type webURL struct {
	setting
	value *url.URL
}

func (w *webURL) Decode(value string) error {
	w.value = nil
	if !w.take(value) {
		return nil
	}
	u, err := url.Parse(w.text)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" || hidesLogin(w.text) {
		w.refuse(likeURL, "a web address", "write it as https://example.com")
		return nil
	}
	w.value = u
	return nil
}

func (w *webURL) kind() string { return "URL" }

// hidesLogin reports whether an @ behind the host makes the host and the port
// look like the beginning of a login whose password has a / ? or #.
func hidesLogin(text string) bool {
	_, rest, _ := strings.Cut(text, "://")
	i := strings.IndexAny(rest, "/?#")
	return i >= 0 && strings.Contains(rest[:i], ":") && strings.Contains(rest[i:], "@")
}

// tokenURL is where a token is sent to: over TLS, or to this machine.
type tokenURL struct {
	setting
	value Secret // its query may hold a key
}

func (u *tokenURL) Decode(value string) error {
	u.value = Secret{}
	if !u.take(value) {
		return nil
	}
	parsed, err := connurl.Parse(u.text)
	if err != nil || len(parsed.Hosts) > 1 || parsed.Hosts[0].Name == "" || parsed.Login ||
		parsed.Scheme != "https" && (parsed.Scheme != "http" || !loopback.Is(parsed.Hosts[0].Name)) {
		u.refuse(likeURL, "an address that a token may be sent to", "write it as https://example.com/path")
		return nil
	}
	u.value = NewSecret(u.text)
	u.text = connurl.Redact(u.text)
	return nil
}

func (u *tokenURL) kind() string { return "URL" }
