package hashslot_test

import (
	"testing"

	"github.com/evently/workers/internal/hashslot"
)

// The slots are those of "CLUSTER KEYSLOT" of Redis 7.0.
func TestOf(t *testing.T) {
	for key, want := range map[string]int{
		"": 0, "123456789": 12739, "celery": 3213, "{celery}:unacked": 3213, "a{celery}b{other}": 3213,
		"{}celery": 1093, "{celery": 963, "{{celery}}": 963, "}{celery}": 3213,
	} {
		if got := hashslot.Of(key); got != want {
			t.Errorf("Of(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestTag(t *testing.T) {
	for key, want := range map[string]string{"{celery}:": "celery", "acme:{a}{b}": "a", "{}{a}": "", "{a": "", "a}:": "", "": ""} {
		tag, ok := hashslot.Tag(key)
		if ok != (want != "") || ok && tag != want {
			t.Errorf("Tag(%q) = %q, %v; want %q", key, tag, ok, want)
		}
	}
}
