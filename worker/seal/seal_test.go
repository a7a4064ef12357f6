package seal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/evently/workers/worker/seal"
)

func newBox(t *testing.T, secrets ...string) *seal.Box {
	t.Helper()
	b, err := seal.New(seal.Config{Secrets: secrets, Setting: "DEAD_LETTER_KEY"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A message opens under the id and the secret that it was sealed with, if it is unchanged.
func TestBox(t *testing.T) {
	first, second := strings.Repeat("a", 16), strings.Repeat("b", 16)
	one, other, both, none := newBox(t, first), newBox(t, second), newBox(t, second, first), newBox(t)
	if none.Key() != "" || one.Key() == "" || one.Key() == other.Key() || both.Key() != other.Key() {
		t.Errorf("keys are %q, %q, %q, %q", none.Key(), one.Key(), other.Key(), both.Key())
	}
	for _, clear := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("long"), 1<<16)} {
		sealed, err := one.Seal("id", clear)
		if err != nil || len(clear) > 1 && bytes.Contains(sealed, clear[:4]) {
			t.Fatalf("Seal: %v", err)
		}
		for _, b := range []*seal.Box{one, both} {
			if got, err := b.Open("id", one.Key(), sealed); err != nil || !bytes.Equal(got, clear) {
				t.Errorf("Open: %q, %v", got, err)
			}
		}
		changed := bytes.Clone(sealed)
		changed[len(changed)-1] ^= 1
		for name, err := range map[string]error{
			"ErrNoKey": open(none, "id", one.Key(), sealed), "ErrWrongKey": open(other, "id", one.Key(), sealed),
			"another id": open(one, "di", one.Key(), sealed), "changed": open(one, "id", one.Key(), changed), "short": open(one, "id", one.Key(), sealed[:12]),
		} {
			want := map[string]error{"ErrNoKey": seal.ErrNoKey, "ErrWrongKey": seal.ErrWrongKey}[name]
			if want == nil {
				want = seal.ErrChanged
			}
			if !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if _, err := none.Seal("id", nil); err == nil {
		t.Error("sealed without a key")
	}
	if _, err := seal.New(seal.Config{Secrets: []string{"short"}, Setting: "DEAD_LETTER_KEY"}); err == nil || !strings.Contains(err.Error(), "DEAD_LETTER_KEY has 5 bytes") {
		t.Errorf("a short secret: %v", err)
	}
}

func open(b *seal.Box, id, key string, sealed []byte) error {
	_, err := b.Open(id, key, sealed)
	return err
}
