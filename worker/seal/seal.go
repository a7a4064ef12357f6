// Package seal encrypts dead letters at rest, with AES-256-GCM. The keys are derived from secrets
// of the operator.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/evently/workers/worker/broker"
)

// Shortest is the length of the shortest secret, in bytes.
const Shortest = 16

// prefix begins everything that is encrypted. It is no beginning of a message.
const prefix = "sealed.1:"

// Purposes of the keys that are derived. A change makes dead letters unreadable.
const (
	purposeSeal = "goworker dead letters 1: encryption"
	purposeName = "goworker dead letters 1: name of the key"
)

// Config describes a Box.
type Config struct {
	// Secrets are the secrets of the operator, of [Shortest] bytes or more. The first one
	// encrypts, all decrypt. Without any nothing is encrypted.
	Secrets []string
	// Setting is the name of the setting of the secrets, for errors. Default: "the secret".
	Setting string
}

// Box encrypts dead letters. It is safe for concurrent use. Make one with New.
type Box struct {
	setting string
	keys    []key // the one that encrypts first
}

type key struct {
	name string
	aead cipher.AEAD
}

var _ broker.Sealer = (*Box)(nil)

// New checks cfg and returns a Box.
func New(cfg Config) (*Box, error) {
	b := &Box{setting: cfg.Setting}
	if b.setting == "" {
		b.setting = "the secret"
	}
	for _, secret := range cfg.Secrets {
		if len(secret) < Shortest {
			return nil, fmt.Errorf("%s has %d bytes: it must have %d or more, such as the output of openssl rand -base64 32", b.setting, len(secret), Shortest)
		}
		k, err := derive(secret)
		if err != nil {
			return nil, fmt.Errorf("derive the key of dead letters: %w", err)
		}
		b.keys = append(b.keys, k)
	}
	return b, nil
}

// derive returns the key of a secret, and a name that tells nothing of it.
func derive(secret string) (key, error) {
	const size, nameSize = 32, 4
	raw, err := hkdf.Key(sha256.New, []byte(secret), nil, purposeSeal, size)
	if err != nil {
		return key{}, err
	}
	name, err := hkdf.Key(sha256.New, []byte(secret), nil, purposeName, nameSize)
	if err != nil {
		return key{}, err
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return key{}, err
	}
	aead, err := cipher.NewGCM(block)
	return key{hex.EncodeToString(name), aead}, err
}

// Key returns the name of the key that encrypts, "" when nothing is encrypted.
func (b *Box) Key() string {
	if len(b.keys) == 0 {
		return ""
	}
	return b.keys[0].name
}

// Seal encrypts a message. It can be decrypted under the same id only.
func (b *Box) Seal(id string, clear []byte) ([]byte, error) {
	if len(b.keys) == 0 {
		return nil, fmt.Errorf("%s is not set", b.setting)
	}
	k := b.keys[0]
	n := len(prefix) + k.aead.NonceSize()
	sealed := make([]byte, n, n+len(clear)+k.aead.Overhead())
	copy(sealed, prefix)
	nonce := sealed[len(prefix):n]
	_, _ = rand.Read(nonce) // it never fails
	return k.aead.Seal(sealed, nonce, clear, []byte(id)), nil
}

// Errors of [Box.Open].
var (
	ErrNoKey    = errors.New("no key")
	ErrWrongKey = errors.New("another key")
	ErrChanged  = errors.New("the stored bytes were changed, or belong to another id")
)

// openError joins one of these errors with what to do.
type openError struct {
	err  error
	text string
}

func (e *openError) Error() string { return e.text }

func (e *openError) Unwrap() error { return e.err }

// Open decrypts what Seal has returned for the id. Its errors are [ErrNoKey], [ErrWrongKey] and
// [ErrChanged], with a text that says what to do.
func (b *Box) Open(id, name string, sealed []byte) ([]byte, error) {
	if len(b.keys) == 0 {
		return nil, &openError{ErrNoKey, fmt.Sprintf("set %s to the key of the workers (key %s)", b.setting, name)}
	}
	for _, k := range b.keys {
		if k.name != name {
			continue
		}
		n := len(prefix) + k.aead.NonceSize()
		if len(sealed) < n || string(sealed[:len(prefix)]) != prefix {
			return nil, ErrChanged
		}
		clear, err := k.aead.Open(nil, sealed[len(prefix):n], sealed[n:], []byte(id))
		if err != nil {
			return nil, ErrChanged
		}
		return clear, nil
	}
	return nil, &openError{ErrWrongKey, fmt.Sprintf("it needs the key %s, and %s has another one; while a key is replaced, write new,old", name, b.setting)}
}
