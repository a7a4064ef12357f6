package control

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Patterns of nodes come with control messages, too: none may end the worker, and
// one without signs matches itself alone.
func FuzzNodePattern(f *testing.F) {
	for _, s := range []string{"", "*", "w?@h", "w[12]@h", "w[!12]@h", "[]]x", "[!]]x", "[", "a[b", "[c-a]", "[-", "[!]", "[[:alpha:]]", "(a+)+$", "a{1000}{1000}", `\`, "ü*", "\xff"} {
		f.Add(s, "w1@h")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if re, err := nodePattern("pcre", pattern); err == nil {
			re.MatchString(name)
		}
		re, err := nodePattern("glob", pattern)
		if strings.ContainsAny(pattern, "*?[") || !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			if err == nil {
				re.MatchString(name)
			}
			return
		}
		if err != nil || re.MatchString(name) != (name == pattern) || !re.MatchString(pattern) {
			t.Fatalf("%q and %q: %v", pattern, name, err)
		}
	})
}
