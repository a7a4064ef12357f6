package tasks

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
)

// Known is what is still known about a mail that was made long ago. The bodies of mails are
// not stored, so a person who wants to see one gets a mail that is made again.
type Known struct {
	Args, Kwargs protocol.Raw // of its message, as far as they are still there; nil: the message is gone
	Booking      string       // id of the booking or the waitlist entry, from the history
	To           string       // masked address, from the history
}

// Remade is the data of a mail that is made again. It has no code and no secret of a link.
type Remade struct {
	Mail    templates.Mail
	Hidden  []string // labels of the fields whose values are hidden
	Missing []string // labels of the fields whose values are not known any more
}

const hiddenCode = "******"

// Remake makes a mail of the task again. Codes, addresses and links are masked in it, and a text
// that is not known says so. Its error tells why the known data make no mail.
func (m MailTask) Remake(k Known) (r Remade, err error) {
	a := m.Arguments(k.Args, k.Kwargs)
	reference := m.referenceKey()
	for _, f := range m.Fields {
		if f.Unused {
			continue
		}
		known := valueAt(a.data, strings.Split(f.Key, "."))
		if known == nil && f.Key == reference && k.Booking != "" {
			known = textValue(k.Booking)
		}
		value, hidden := f.masked(known, k.To)
		switch {
		case hidden:
			r.Hidden = append(r.Hidden, f.Label)
		case known == nil:
			r.Missing = append(r.Missing, f.Label)
		}
		if value != nil {
			a.put(f.Key, value)
		}
	}
	d := a.dictionary()
	r.Mail = templates.InLocale(m.read(d).data, d.locale())
	return r, d.err
}

// masked returns the value of a field as people may see it; nil leaves it out. hidden says
// that it is not the real one, but a mask. known is nil if the value is not known.
func (f Field) masked(known protocol.Raw, to string) (value protocol.Raw, hidden bool) {
	switch f.Input {
	case Code:
		return textValue(hiddenCode), true
	case Email:
		return textValue(to), true
	case URL:
		text, ok := scalar(known)
		if !ok {
			return nil, false
		}
		return textValue(maskedLink(text)), true
	case Number, Date:
		if known == nil {
			return protocol.Raw("true"), false // unreadable, so that no default takes its place
		}
	case Text:
		if known == nil && f.Key != currencyKey {
			return textValue("[" + strings.ToLower(f.Label) + " not kept]"), false
		}
	}
	return known, false
}

// textValue returns a text as JSON.
func textValue(text string) protocol.Raw {
	value, _ := json.Marshal(text) // a text always encodes
	return value
}

// maskedLink returns a link without what may open something: only its host remains.
func maskedLink(text string) string {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/***"}).String()
}

// referenceKey returns the key of the field with the id that the history has, "" if there is
// none.
func (m MailTask) referenceKey() string {
	const mark = "reference"
	for _, f := range m.Fields {
		a := &Arguments{task: m, touched: map[string]bool{}}
		a.put(f.Key, textValue(mark))
		if m.read(a.dictionary()).reference == mark {
			return f.Key
		}
	}
	return ""
}
