package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// minBits is the shortest RSA key. Receivers ignore signatures by shorter ones, RFC 8301 section
// 3.2 and the rules of the large mail services.
const minBits = 2048

// Signer signs mails by the key of a file. Its methods may be called by several goroutines.
type Signer struct {
	file             string
	domain, selector string

	mu    sync.Mutex
	stamp stamp
	key   crypto.Signer
}

// stamp tells versions of a file apart.
type stamp struct {
	changed time.Time
	size    int64
	info    os.FileInfo
}

func (s stamp) same(other os.FileInfo) bool {
	return s.info != nil && s.changed.Equal(other.ModTime()) && s.size == other.Size() && os.SameFile(s.info, other)
}

// New returns a Signer. The error says which part is wrong.
func New(file, domain, selector string) (*Signer, error) {
	if reason := checkName(domain); reason != "" {
		return nil, errors.New("domain: " + reason)
	}
	if reason := checkName(selector); reason != "" {
		return nil, errors.New("selector: " + reason)
	}
	s := &Signer{file: file, domain: domain, selector: selector}
	_, err := s.current()
	return s, err
}

// Sign returns the signature field of mail, with its CRLF. The caller puts it before the mail.
// at is the time of the mail. The key file is read again when it changed. stale is the fault of
// the changed file, in which case the key from before signs; it is returned once for each
// change.
func (s *Signer) Sign(mail []byte, at time.Time) (field []byte, stale, err error) {
	key, stale := s.current()
	field, err = signature{s.domain, s.selector, key}.field(mail, at)
	return field, stale, err
}

// current returns the key. With an error it is the key from before, if there is one.
func (s *Signer) current() (crypto.Signer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.file)
	switch {
	case err != nil && s.stamp.info == nil && s.key != nil:
		return s.key, nil // reported already
	case err != nil:
		s.stamp = stamp{}
		return s.key, err
	case s.stamp.same(info):
		return s.key, nil
	}
	s.stamp = stamp{info.ModTime(), info.Size(), info}
	text, err := os.ReadFile(s.file)
	if err != nil {
		return s.key, err
	}
	key, err := ParseKey(text)
	if err != nil {
		return s.key, fmt.Errorf("%s: %w", s.file, err)
	}
	s.key = key
	return key, nil
}

// ParseKey returns the private key in a PEM text: RSA of at least 2048 bits in PKCS #1 or PKCS #8,
// or Ed25519 in PKCS #8. The error never quotes the text.
func ParseKey(text []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block, which begins with -----BEGIN PRIVATE KEY-----")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("several PEM blocks, want one private key")
	}
	var key any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY" || bytes.Contains(text, []byte("Proc-Type: 4,ENCRYPTED")):
		return nil, errors.New("the key has a pass phrase, write it without one: openssl pkey -in FILE -out FILE")
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it holds a %.40q, want a PRIVATE KEY or RSA PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, errors.New("the private key cannot be read")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minBits {
			return nil, fmt.Errorf("an RSA key of %d bits, want %d or more", bits, minBits)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("a key of another kind, want RSA or Ed25519")
}
