package mail

import (
	"bytes"
	"slices"
	"strings"
)

// offers holds the extensions of an EHLO reply that go-smtp does not parse in all forms.
type offers struct {
	lines      int
	mechanisms []string // of AUTH, in upper case
}

// sayHello sends EHLO and returns the offers of the server.
func (c *session) sayHello() (*offers, error) {
	o := &offers{}
	c.wire.offers = o
	defer func() { c.wire.offers = nil }()
	err := c.step(c.cfg.Timeouts.Command, func() error { return c.client.Hello(c.hello) })
	return o, err
}

// note parses one line of the reply. It converts the keyword to upper case in place: keywords
// may have any case (RFC 5321 section 4.1.1.1), but go-smtp accepts only one.
func (o *offers) note(line []byte) {
	o.lines++
	if o.lines == 1 || len(line) < 4 || !bytes.HasPrefix(line, []byte("250")) {
		return // the first line names the server
	}
	rest := line[4:]
	end := bytes.IndexAny(rest, " \t=\r\n")
	if end < 0 {
		end = len(rest)
	}
	copy(rest, bytes.ToUpper(rest[:end]))
	if string(rest[:end]) != "AUTH" {
		return
	}
	// AUTH=LOGIN is older than RFC 2554, and servers still send it beside the new form.
	for _, name := range strings.Fields(strings.ReplaceAll(string(rest[end:]), "=", " ")) {
		if name = strings.ToUpper(name); !slices.Contains(o.mechanisms, name) {
			o.mechanisms = append(o.mechanisms, name)
		}
	}
}
