package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Names in the table meta. The first one begins the names of keys for hashes that were made
// of the secret of a broker. The other one begins the names of checks of keys of the
// operator, which are not stored themselves.
const (
	metaHashKey  = "hash_key "
	metaOperator = "operator_key "
)

// mostKeys is the number of keys that a search tries, the newest first.
const mostKeys = 16

// fingerprint identifies a key without revealing it.
func fingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("fingerprint "), key...))
	return hex.EncodeToString(sum[:8])
}

// keepKey stores the key for hashes, so that commands without the broker find addresses,
// and a broker that lost its secret does not lose the history. Of a key of the operator
// only a fingerprint is stored. It reports whether the operator had another key before.
func (d *database) keepKey(ctx context.Context, s *Sealer, now time.Time) (other bool, err error) {
	if s == nil {
		return false, nil
	}
	key, err := s.hash.get()
	if err != nil {
		return false, nil // it is kept later
	}
	name, value := metaHashKey+fingerprint(key), hex.EncodeToString(key)
	if s.Encrypts() {
		name, value = metaOperator+fingerprint(key), ""
	}
	ctx, cancel := d.deadline(ctx)
	defer cancel()
	_, err = d.exec(ctx, d.db, "INSERT INTO evently_mail.meta AS t (name, value, changed_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET changed_at = excluded.changed_at",
		name, value, d.time(now))
	if err != nil {
		return false, fmt.Errorf("keep the key for hashes of addresses: %w", err)
	}
	if !s.Encrypts() {
		return false, nil
	}
	var names []string
	err = d.query(ctx, d.db, &names, "SELECT name FROM evently_mail.meta WHERE name LIKE ?", metaOperator+"%")
	if err != nil {
		return false, fmt.Errorf("compare the keys for hashes of addresses: %w", err)
	}
	known := map[string]bool{name: true}
	for _, key := range s.formerHashes {
		known[metaOperator+fingerprint(key)] = true
	}
	return slices.ContainsFunc(names, func(n string) bool { return !known[n] }), nil
}

// Hasher computes the hashes that an address may have in the database.
type Hasher struct{ keys [][]byte }

// Hashes returns the hashes of an address, that of the present key first.
func (h Hasher) Hashes(address string) [][]byte {
	address = Normalise(address)
	hashes := make([][]byte, len(h.keys))
	for i, key := range h.keys {
		hashes[i] = hashOf(key, address)
	}
	return hashes
}

// hasher returns a Hasher with the keys of the sealer and each key that is stored. It fails
// with [ErrNoKey] if there is no key.
func (d *database) hasher(ctx context.Context, s *Sealer) (Hasher, error) {
	var h Hasher
	add := func(key []byte) {
		if !slices.ContainsFunc(h.keys, func(known []byte) bool { return bytes.Equal(known, key) }) {
			h.keys = append(h.keys, key)
		}
	}
	if s != nil {
		if key, err := s.hash.get(); err == nil {
			add(key)
		}
		for _, key := range s.formerHashes {
			add(key)
		}
	}
	var stored []string
	err := d.query(ctx, d.db, &stored, "SELECT value FROM evently_mail.meta WHERE name LIKE ? ORDER BY changed_at DESC LIMIT ?", metaHashKey+"%", mostKeys)
	if err != nil {
		return Hasher{}, err
	}
	for _, text := range stored {
		key, err := hex.DecodeString(text)
		if err != nil || len(key) == 0 {
			continue
		}
		add(key)
	}
	if len(h.keys) == 0 {
		return Hasher{}, ErrNoKey
	}
	return h, nil
}

// hashes returns the hashes that an address may have in the database.
func (d *database) hashes(ctx context.Context, s *Sealer, address string) ([][]byte, error) {
	h, err := d.hasher(ctx, s)
	if err != nil {
		return nil, err
	}
	return h.Hashes(address), nil
}

// OtherKey reports whether the worker that started last has a LEDGER_KEY that the sealer does
// not have: it does not find addresses by the hashes of the sealer.
func (b *DB) OtherKey(ctx context.Context, s *Sealer) (bool, error) {
	ctx, cancel := b.Deadline(ctx)
	defer cancel()
	var names []string
	err := b.d.query(ctx, b.d.db, &names, "SELECT name FROM evently_mail.meta WHERE name LIKE ? OR name LIKE ? ORDER BY changed_at DESC LIMIT 1",
		metaOperator+"%", metaHashKey+"%")
	if err != nil || len(names) == 0 || !strings.HasPrefix(names[0], metaOperator) {
		return false, err
	}
	if !s.Encrypts() {
		return true, nil
	}
	key, err := s.hash.get()
	if err != nil {
		return false, err
	}
	known := func(key []byte) bool { return names[0] == metaOperator+fingerprint(key) }
	return !known(key) && !slices.ContainsFunc(s.formerHashes, known), nil
}
