package redact

import (
	"slices"
	"strings"
	"sync"
)

const (
	pastSecrets = 256 // secrets and recipients of earlier mails that are kept
	pastTexts   = 16  // subjects and bodies of earlier mails that are kept
)

// History keeps the secrets of earlier mails. A server may repeat them in its greeting or in
// its replies to a later mail. Its methods may be called by several goroutines.
type History struct {
	mu         sync.RWMutex
	secrets    []Secret   // oldest first, as all lists here
	beginnings beginnings // of the secrets
	recipients []string   // in lower case
	texts      []string   // subjects and bodies
}

// Add records the secrets, the recipient and the texts of one mail.
func (h *History) Add(secrets []string, recipient string, texts ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range secrets {
		if secret, ok := NewSecret(text); ok {
			h.secrets = append(h.secrets, secret)
			h.beginnings.add(secret)
		}
	}
	if kept := newest(h.secrets, pastSecrets); len(kept) < len(h.secrets) {
		h.secrets, h.beginnings = kept, nil
		for _, secret := range kept {
			h.beginnings.add(secret)
		}
	}
	h.recipients = newest(append(h.recipients, strings.ToLower(recipient)), pastSecrets)
	h.texts = newest(append(h.texts, texts...), pastTexts)
}

// beginnings holds the first bytes of each form of many secrets. Most replies contain none of
// them, and are searched once and not for each secret.
type beginnings map[[minSecret]byte]struct{}

func (b *beginnings) add(s Secret) {
	if *b == nil {
		*b = beginnings{}
	}
	for _, form := range append(s.forms[:len(s.forms):len(s.forms)], s.core) {
		if len(form) >= minSecret {
			(*b)[[minSecret]byte([]byte(form[:minSecret]))] = struct{}{}
		}
	}
}

// isIn reports whether text may contain one of the secrets.
func (b beginnings) isIn(text string) bool {
	for _, in := range []string{strings.ToLower(text), letters(text)} {
		for i := range len(in) - minSecret + 1 {
			if _, found := b[[minSecret]byte([]byte(in[i:i+minSecret]))]; found {
				return true
			}
		}
	}
	return false
}

// newest returns the last n elements of a list that is much longer than n, and other lists
// whole.
func newest[T any](list []T, n int) []T {
	if len(list) < n+n/2 {
		return list
	}
	return slices.Delete(list, 0, len(list)-n)
}

func (h *History) mask(text string) string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.beginnings.isIn(text) {
		m := newMarks(text)
		m.markSecrets(h.secrets)
		text = m.masked()
	}
	text = maskRecipients(text, h.recipients)
	for _, message := range h.texts {
		text = maskQuoted(text, message)
	}
	return text
}

// maskRecipients removes the escaped forms of addresses. Package mail masks the plain form.
func maskRecipients(text string, recipients []string) string {
	lower := strings.ToLower(text)
	for _, address := range recipients {
		begin := address // the part that is the same in all forms
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
		text = m.masked()
	}
	return text
}
