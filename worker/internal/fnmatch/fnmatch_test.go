package fnmatch_test

import (
	"testing"

	"github.com/evently/workers/worker/internal/fnmatch"
)

// The answers are those of Python's fnmatch.fnmatchcase.
func TestCompile(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "a.b/c\nd", true}, {"feeds.*", "feeds.tasks.x", true}, {"feeds.*", "my.feeds.x", false},
		{"w?@h", "w1@h", true}, {"w?@h", "w@h", false}, {"w[12]@h", "w2@h", true}, {"w[!12]@h", "w2@h", false}, {"w[!12]@h", "w3@h", true},
		{"[a-c]x", "bx", true}, {"[a-c]x", "-x", false}, {"[ac-]x", "-x", true}, {"[-ac]x", "-x", true}, {"[]]x", "]x", true}, {"[!]]x", "]x", false},
		{"[", "[", true}, {"a[b", "a[b", true}, {"a.b", "axb", false}, {"a\\*", "a\\b", true}, {"[^a]", "^", true}, {"[^a]", "b", false}, {"[\\]x", "\\x", true},
		{"ü*", "über", true},
	} {
		re, err := fnmatch.Compile(tc.pattern)
		if err != nil {
			t.Errorf("%q: %v", tc.pattern, err)
			continue
		}
		if got := re.MatchString(tc.name); got != tc.want {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.name, got)
		}
	}
}
