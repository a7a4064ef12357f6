package mail

import (
	"encoding/base64"
	"html"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	// minVeil is the length of the shortest secret that is looked for in words
	// about something else. Shorter ones are parts of ordinary words, and to blank
	// those would tell the secret.
	minVeil = 4

	pastSecrets = 256 // secrets and recipients of other mails that are remembered
	pastTexts   = 8   // the same of their texts
)

// veil is a secret with the forms in which software repeats it, made once: most
// replies hold none of them, and that is found out quickly.
type veil struct {
	forms []string // in small letters
	core  string   // its letters and digits, with anything between them; "": not looked for
}

func newVeil(secret string) (v veil, ok bool) {
	secret = strings.TrimSpace(secret)
	if utf8.RuneCountInString(secret) < minVeil {
		return veil{}, false
	}
	for _, form := range escaped(secret) {
		v.add(form)
	}
	v.add(secret)
	if core := letters(secret); utf8.RuneCountInString(core) >= minVeil {
		v.core = core
	}
	return v, true
}

func escaped(text string) (forms []string) {
	for _, form := range []string{
		url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text), base64.StdEncoding.EncodeToString([]byte(text)),
	} {
		if form != text {
			forms = append(forms, form)
		}
	}
	return forms
}

func (v *veil) add(form string) {
	if form = strings.ToLower(form); !slices.Contains(v.forms, form) {
		v.forms = append(v.forms, form)
	}
}

// letters returns the letters and digits of text, in small letters.
func letters(text string) string {
	return strings.Map(func(r rune) rune {
		if notWord(r) {
			return -1
		}
		return r
	}, strings.ToLower(text))
}

func (v *veil) isIn(lower, core string) bool {
	return v.core != "" && strings.Contains(core, v.core) ||
		slices.ContainsFunc(v.forms, func(form string) bool { return strings.Contains(lower, form) })
}

// blankVeils replaces all that text has of veils.
func blankVeils(text string, veils []veil) string {
	if len(veils) == 0 || text == "" {
		return text
	}
	lower, core := strings.ToLower(text), letters(text)
	for i := range veils {
		if veils[i].isIn(lower, core) {
			text = veils[i].blank(text)
		}
	}
	return text
}

func (v *veil) blank(text string) string {
	m := newMarks(text)
	for _, form := range v.forms {
		m.mark(form)
	}
	if v.core != "" {
		m.markCore(v.core)
	}
	return m.blanked()
}

// history remembers what other mails held. A server may speak of an earlier mail
// when it greets, or in its answer to the next one.
type history struct {
	mu         sync.RWMutex
	secrets    []veil   // the newest come last, here and below
	recipients []string // in small letters
	texts      []string // subjects and bodies
}

// add remembers a mail.
func (h *history) add(m Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, secret := range m.Secrets {
		if v, ok := newVeil(secret); ok {
			h.secrets = append(h.secrets, v)
		}
	}
	h.secrets = newest(h.secrets, pastSecrets)
	h.recipients = newest(append(h.recipients, strings.ToLower(m.To)), pastSecrets)
	h.texts = newest(append(h.texts, m.Subject, m.Text), 2*pastTexts)
}

// newest cuts the oldest elements off a list that is much longer than n.
func newest[T any](list []T, n int) []T {
	if len(list) < n+n/2 {
		return list
	}
	return slices.Delete(list, 0, len(list)-n)
}

func (h *history) blank(text string) string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	text = blankRecipients(blankVeils(text, h.secrets), h.recipients)
	for _, message := range h.texts {
		text = blankQuoted(text, message)
	}
	return text
}

// blankRecipients replaces addresses in the forms that [maskAddresses] does not
// know.
func blankRecipients(text string, recipients []string) string {
	lower := strings.ToLower(text)
	for _, address := range recipients {
		begin := address // which no form changes
		if end := strings.IndexFunc(address, notWord); end > 0 {
			begin = address[:end]
		}
		if !strings.Contains(lower, begin) {
			continue
		}
		m := newMarks(text)
		for _, form := range escaped(address) {
			m.mark(form)
		}
		text = m.blanked()
	}
	return text
}

// cleanError shows the text of an error without what is hidden.
type cleanError struct {
	error
	text string
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.error }

// clean wraps err if its text holds something that is hidden: names in
// certificates are the server's own words.
func (h hidden) clean(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if blank := h.blank(text); blank != text {
		return &cleanError{error: err, text: blank}
	}
	return err
}
