// Package verp makes and checks the envelope senders by which a bounce names the mail that it is
// about (variable envelope return paths). The local part is
//
//	b+<id>-<mac>
//
// with the id of the mail and an HMAC over it, so that bounces cannot be invented. There is no
// address of a recipient in it.
package verp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

const (
	prefix = "b+"

	// MinKey is the length of the shortest key, in octets.
	MinKey = 16

	maxID     = 40 // so that the local part has at most 64 octets, RFC 5321 section 4.5.3.1.1
	macOctets = 8  // of HMAC-SHA256
)

// encoding has letters of one case: some servers change the case of addresses.
var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrNotOurs is the error of an address that has no tag of these keys.
var ErrNotOurs = errors.New("not an address for bounces of this service")

// Tagger makes and checks addresses. Its methods may be called by several goroutines.
type Tagger struct {
	domain string
	keys   [][]byte
}

// New returns a Tagger for a domain, without its @. The first key makes tags; all of them check,
// so that an old key can be replaced while its bounces still arrive.
func New(domain string, keys ...string) (*Tagger, error) {
	if domain == "" || len(keys) == 0 {
		return nil, errors.New("a domain and a key are required")
	}
	t := &Tagger{domain: strings.ToLower(domain)}
	for i, key := range keys {
		if len(key) < MinKey {
			return nil, fmt.Errorf("key %d has less than %d octets", i+1, MinKey)
		}
		t.keys = append(t.keys, []byte(key))
	}
	return t, nil
}

// Address returns the envelope sender for the mail with an id of lower-case letters and digits.
func (t *Tagger) Address(id string) (string, error) {
	if !isID(id) {
		return "", fmt.Errorf("verp: an id has 1 to %d letters and digits", maxID)
	}
	return prefix + id + "-" + tag(t.keys[0], id) + "@" + t.domain, nil
}

// Check returns the id of the mail that a bounce to address is about. It ignores the case of the
// address. The error is [ErrNotOurs] for every other address.
func (t *Tagger) Check(address string) (id string, err error) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 || !strings.EqualFold(address[at+1:], t.domain) {
		return "", ErrNotOurs
	}
	local, found := strings.CutPrefix(strings.ToLower(strings.Trim(address[:at], `"`)), prefix)
	id, mac, tagged := strings.Cut(local, "-")
	if !found || !tagged || !isID(id) {
		return "", ErrNotOurs
	}
	for _, key := range t.keys {
		if hmac.Equal([]byte(tag(key, id)), []byte(mac)) {
			return id, nil
		}
	}
	return "", ErrNotOurs
}

func tag(key []byte, id string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("evently bounce " + id))
	return encoding.EncodeToString(mac.Sum(nil)[:macOctets])
}

func isID(id string) bool {
	return id != "" && len(id) <= maxID && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}
