package ledger

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// ShortestKey is the length of the shortest key of the operator, in bytes.
const ShortestKey = 16

// Purposes of the keys that are derived. A change makes the history unreadable.
const (
	purposeHash      = "evently mail ledger 1: hash of addresses"
	purposeSeal      = "evently mail ledger 1: encryption of addresses"
	purposeRedisHash = "evently mail ledger 1: hash of addresses, key of the broker"
)

const hashSize = 16 // bytes; two of 10^9 addresses share a hash with a chance of 10^-21

const longestAddress = 512 // bytes; a mailbox has at most 254

var errNoSecret = errors.New("secret of the broker is unavailable")

// Errors of [Sealer.Open].
var (
	ErrNoKey    = errors.New("no key for the addresses: set LEDGER_KEY")
	ErrWrongKey = errors.New("address was encrypted with another LEDGER_KEY")
)

// SecretKeeper holds a secret that all workers share. [worker/broker.SecretKeeper] is one.
type SecretKeeper interface {
	Secret(ctx context.Context) ([]byte, error)
}

// SealerConfig is the configuration of a [Sealer].
type SealerConfig struct {
	// Key is the key of the operator (LEDGER_KEY), of [ShortestKey] bytes or more. The
	// keys for hashes and encryption are derived from it. Without it no address is
	// encrypted, and the key for hashes is derived from the secret of Secrets.
	Key string

	// Former are keys of the operator that Key has replaced. Addresses of them are found
	// and can be read.
	Former []string

	// Secrets is asked once, for the first address, and again after an error. nil without
	// Key: addresses get no hash.
	Secrets SecretKeeper

	// Mask returns an address in the form that people may see, such as
	// j***@example.com. nil: only *** and the domain are shown.
	Mask func(address string) string
}

// Sealer turns addresses into the form that the ledger stores. It is safe for concurrent
// use. A nil *Sealer only masks.
type Sealer struct {
	mask func(string) string
	aead cipher.AEAD // nil without Key
	hash hashKey

	formerAEADs  []cipher.AEAD
	formerHashes [][]byte
}

// NewSealer checks cfg and returns a Sealer. It does no I/O.
func NewSealer(cfg SealerConfig) (*Sealer, error) {
	s := &Sealer{mask: cfg.Mask, hash: hashKey{secrets: cfg.Secrets}}
	if cfg.Key == "" {
		return s, nil
	}
	var err error
	if s.hash.key, s.aead, err = deriveKeys(cfg.Key); err != nil {
		return nil, err
	}
	for _, former := range cfg.Former {
		hash, aead, err := deriveKeys(former)
		if err != nil {
			return nil, err
		}
		s.formerHashes, s.formerAEADs = append(s.formerHashes, hash), append(s.formerAEADs, aead)
	}
	return s, nil
}

// deriveKeys returns the keys for hashes and for encryption of a key of the operator.
func deriveKeys(key string) (hash []byte, aead cipher.AEAD, err error) {
	if len(key) < ShortestKey {
		return nil, nil, fmt.Errorf("LEDGER_KEY has %d bytes: it must have %d or more, such as the output of openssl rand -base64 32", len(key), ShortestKey)
	}
	const size = 32
	if hash, err = hkdf.Key(sha256.New, []byte(key), nil, purposeHash, size); err != nil {
		return nil, nil, fmt.Errorf("derive the key for hashes of addresses: %w", err)
	}
	seal, err := hkdf.Key(sha256.New, []byte(key), nil, purposeSeal, size)
	if err != nil {
		return nil, nil, fmt.Errorf("derive the key for encryption of addresses: %w", err)
	}
	block, err := aes.NewCipher(seal)
	if err != nil {
		return nil, nil, fmt.Errorf("encryption of addresses: %w", err)
	}
	if aead, err = cipher.NewGCM(block); err != nil {
		return nil, nil, fmt.Errorf("encryption of addresses: %w", err)
	}
	return hash, aead, nil
}

// Encrypts reports whether addresses are encrypted and can be read again.
func (s *Sealer) Encrypts() bool { return s != nil && s.aead != nil }

// Seal returns the stored form of an address. Its hash is nil while the secret for it is
// unavailable. Seal may wait
// two seconds for the secret, and does not ask again within a second after an error.
func (s *Sealer) Seal(address string) Recipient {
	if address == "" {
		return Recipient{}
	}
	address = Normalise(address)
	domain := address[strings.LastIndexByte(address, '@')+1:]
	r := Recipient{Masked: "***@" + domain, Domain: domain}
	if s == nil {
		return r
	}
	if s.mask != nil {
		r.Masked = s.mask(address)
	}
	if key, err := s.hash.get(); err == nil {
		r.Hash = hashOf(key, address)
	}
	if s.aead != nil && len(address) <= longestAddress {
		r.Sealed = s.seal(address)
	}
	return r
}

// Open returns the address of Recipient.Sealed. Its errors are [ErrNoKey] and [ErrWrongKey].
func (s *Sealer) Open(sealed []byte) (address string, err error) {
	if !s.Encrypts() {
		return "", ErrNoKey
	}
	for _, aead := range append([]cipher.AEAD{s.aead}, s.formerAEADs...) {
		n := aead.NonceSize()
		if len(sealed) < n {
			return "", ErrWrongKey
		}
		if plain, err := aead.Open(nil, sealed[:n], sealed[n:], nil); err == nil {
			return string(plain), nil
		}
	}
	return "", ErrWrongKey
}

func (s *Sealer) seal(address string) []byte {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(address)+s.aead.Overhead())
	_, _ = rand.Read(nonce) // it never fails
	return s.aead.Seal(nonce, nonce, []byte(address), nil)
}

// hashKey is the key for hashes, which may have to be asked for.
type hashKey struct {
	secrets SecretKeeper

	mu     sync.Mutex
	key    []byte
	failed time.Time // when it was last asked for without an answer
}

// get returns the key. Until the first answer several callers may ask at once; the first
// answer counts.
func (h *hashKey) get() ([]byte, error) {
	key, ask := h.known()
	if key != nil {
		return key, nil
	}
	if !ask {
		return nil, errNoSecret
	}
	const longest = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	secret, err := h.secrets.Secret(ctx)
	if err == nil && len(secret) == 0 {
		err = errNoSecret
	}
	if err == nil {
		key, err = hkdf.Key(sha256.New, secret, nil, purposeRedisHash, sha256.Size)
	}
	if err != nil {
		h.fail()
		return nil, fmt.Errorf("key for hashes of addresses: %w", err)
	}
	return h.keep(key), nil
}

// known returns the key, or nil and whether the caller must ask for the secret.
func (h *hashKey) known() (key []byte, ask bool) {
	const pause = time.Second
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.key, h.key == nil && h.secrets != nil && time.Since(h.failed) > pause
}

func (h *hashKey) fail() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = time.Now()
}

// keep keeps the key if there is none yet, and returns the one that is kept.
func (h *hashKey) keep(key []byte) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.key == nil {
		h.key = key
	}
	return h.key
}

func hashOf(key []byte, address string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(address)) // a hash takes everything
	return h.Sum(nil)[:hashSize]
}

// Normalise returns the form of an address that is hashed and encrypted: without spaces
// around it, in lower case, composed (NFC), with the domain in A-labels. Two spellings of
// one mailbox have one form.
func Normalise(address string) string {
	address = strings.ToLower(strings.TrimSpace(address))
	if isPlain(address) {
		return strings.TrimSuffix(address, ".")
	}
	address = norm.NFC.String(address)
	at := strings.LastIndexByte(address, '@')
	domain := strings.TrimSuffix(address[at+1:], ".")
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		domain = ascii
	}
	return address[:at+1] + domain
}

// HasFormer reports whether there are keys that the present one has replaced.
func (s *Sealer) HasFormer() bool { return s != nil && len(s.formerAEADs) > 0 }
