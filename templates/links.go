package templates

import (
	"fmt"
	"net/url"
	"strings"
)

const maxURL = 2000

// linkPolicy has the hosts that a link of task data may lead to.
type linkPolicy map[string]bool

// allowed returns the URL in ASCII, or "" if it is not https, names a user, or leads to a
// host that is not listed.
func (p linkPolicy) allowed(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := httpsURL(raw)
	if err != nil || !p[strings.ToLower(u.Host)] {
		return ""
	}
	return u.String()
}

// httpsURL parses an absolute https URL and normalises it, so that the shown text and the
// target are equal and have no spaces, quotes or letters outside ASCII.
func httpsURL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("longer than %d bytes", maxURL)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("not a URL")
	case u.Scheme != "https":
		return nil, fmt.Errorf("not an https URL")
	case u.Host == "" || u.User != nil || u.Opaque != "":
		return nil, fmt.Errorf("not https://host/path without a user name")
	}
	u.Host = strings.ToLower(strings.TrimSuffix(u.Host, ":443"))
	u.RawQuery = escapeQuery(u.RawQuery)
	u.RawPath = ""
	return u, nil
}

// escapeQuery escapes the bytes that RFC 3986 does not allow in a query, because url.URL
// does not.
func escapeQuery(q string) string {
	var b strings.Builder
	for i := range len(q) {
		c := q[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"'<>\\^`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
