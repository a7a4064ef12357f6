package verp_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"testing"

	"github.com/evently/workers/mail/verp"
)

const id, key, oldKey = "632122fdd04721f582291d856bf81690", "0123456789abcdef", "fedcba9876543210"

func newTagger(t testing.TB, keys ...string) *verp.Tagger {
	t.Helper()
	tagger, err := verp.New("Bounces.example.com", keys...)
	if err != nil {
		t.Fatal(err)
	}
	return tagger
}

func TestAddress(t *testing.T) {
	t.Parallel()
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("evently bounce " + id))
	want := "b+" + id + "-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:8])) + "@bounces.example.com"
	address, err := newTagger(t, key).Address(id)
	if err != nil || address != want {
		t.Errorf("%s, %v; want %s", address, err, want)
	}
	longest, err := newTagger(t, key).Address(strings.Repeat("z", 40))
	if local, _, _ := strings.Cut(longest, "@"); err != nil || len(local) > 64 {
		t.Errorf("%s: local part of %d octets, %v", longest, len(local), err)
	}
	for _, bad := range []string{"", "a-b", "A", "a b", "jane@example.com", strings.Repeat("z", 41)} {
		if got, err := newTagger(t, key).Address(bad); err == nil {
			t.Errorf("id %q makes %s", bad, got)
		}
	}
}

// Only addresses with a tag of one of the keys are ours, in any case of letters.
func TestCheck(t *testing.T) {
	t.Parallel()
	address, err := newTagger(t, key).Address(id)
	if err != nil {
		t.Fatal(err)
	}
	old, err := newTagger(t, oldKey).Address(id)
	if err != nil {
		t.Fatal(err)
	}
	tagger := newTagger(t, key, oldKey)
	for _, ours := range []string{address, old, strings.ToUpper(address), `"` + strings.Replace(address, "@", `"@`, 1)} {
		if got, err := tagger.Check(ours); err != nil || got != id {
			t.Errorf("%s: %q, %v", ours, got, err)
		}
	}
	if _, err := newTagger(t, key).Check(old); !errors.Is(err, verp.ErrNotOurs) {
		t.Errorf("a key that was removed: %v", err)
	}
	for i := range address {
		changed := []byte(address)
		changed[i] ^= 1
		if got, err := tagger.Check(string(changed)); err == nil && !strings.EqualFold(string(changed), address) {
			t.Errorf("%s: taken for %s", changed, got)
		}
	}
	for _, other := range []string{
		"", "@", "b+@bounces.example.com", "b+-@bounces.example.com", "b+" + id + "@bounces.example.com", "b+" + id + "-@bounces.example.com",
		strings.Replace(address, "bounces", "bounce", 1), strings.TrimPrefix(address, "b+"), address + ".", "<" + address + ">",
		strings.Replace(address, "b+6", "b+66", 1), "mail@bounces.example.com", "b+" + id + "-aaaaaaaaaaaaa@bounces.example.com",
	} {
		if got, err := tagger.Check(other); !errors.Is(err, verp.ErrNotOurs) {
			t.Errorf("%q: %q, %v", other, got, err)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{nil, {"short"}, {key, "short"}} {
		if _, err := verp.New("bounces.example.com", keys...); err == nil || strings.Contains(err.Error(), "short") {
			t.Errorf("keys %q: %v", keys, err)
		}
	}
	if _, err := verp.New("", key); err == nil {
		t.Error("no domain")
	}
}

func FuzzCheck(f *testing.F) {
	tagger := newTagger(f, key)
	address, _ := tagger.Address(id)
	f.Add(address)
	f.Add("b+a-b@bounces.example.com")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := tagger.Check(s)
		if err != nil {
			return
		}
		if again, err := tagger.Address(got); err != nil || !strings.EqualFold(strings.ReplaceAll(s, `"`, ""), again) {
			t.Errorf("%q is taken for %q, whose address is %q", s, got, again)
		}
	})
}
