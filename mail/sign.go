package mail

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/evently/workers/mail/internal/dkim"
)

// DKIM is the configuration of signatures, RFC 6376. Without keys mails are not signed: most
// relays sign by themselves.
type DKIM struct {
	Domain string // "": that of FromAddress
	Keys   []DKIMKey
}

// DKIMKey is one key. Each one makes a separate signature, in this order.
type DKIMKey struct {
	// File is a PEM file with the private key: RSA of at least 2048 bits in PKCS #1 or
	// PKCS #8, or Ed25519 in PKCS #8. It is read again when it changes. If it is wrong
	// then, the key from before is used.
	File string

	// Selector is the name before _domainkey in the record with the public key.
	Selector string
}

// checkDKIM reads the keys.
func (c *Config) checkDKIM(from Address, faults *configFaults) {
	if c.DKIM.Domain == "" {
		c.DKIM.Domain = from.Domain
	}
	c.signers = nil
	for i, key := range c.DKIM.Keys {
		signer, err := dkim.New(key.File, c.DKIM.Domain, key.Selector)
		if err != nil {
			const want = "a PEM file with an RSA key of 2048 bits or more, or an Ed25519 key; a selector; a domain"
			faults.all = append(faults.all, &ConfigError{Field: "DKIM", Reason: fmt.Sprintf("key %d: %v", i+1, err), Want: want, Err: err})
			continue
		}
		c.signers = append(c.signers, signer)
	}
}

// aligned reports whether receivers count a signature of domain for a sender of another domain:
// both have the same registered domain, RFC 7489 section 3.1.1.
func aligned(domain, from string) bool {
	registered := func(name string) string {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if short, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
			return short
		}
		return name
	}
	return registered(domain) == registered(from)
}

// sign puts the signatures before the mail. A mail is sent without a signature rather than not
// at all.
func (s *Sender) sign(mail []byte, at time.Time) []byte {
	var fields []byte
	for _, signer := range s.cfg.signers {
		field, stale, err := signer.Sign(mail, at)
		if stale != nil {
			s.log.Warn("DKIM key file not usable, the key from before signs", "error", stale)
		}
		if err != nil {
			s.log.Error("mail not signed", "error", err)
			continue
		}
		fields = append(fields, field...)
	}
	if fields == nil {
		return mail
	}
	return slices.Concat(fields, mail)
}
