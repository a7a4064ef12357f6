package worker

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A rate limit comes from whoever may publish control messages.
func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"", "0", "10/m", "0.5/h", " 1/h ", "1/d", "NaN", "1e400", "1e-300/h", "-1/s", "0x1p-2/m", "1_0/s", "inf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		every, err := ParseRate(s)
		if every < 0 || err != nil && every != 0 {
			t.Fatalf("ParseRate(%q) = %v, %v", s, every, err)
		}
		if every == 0 {
			return
		}
		number, unit, _ := strings.Cut(strings.TrimSpace(s), "/")
		n, err := strconv.ParseFloat(number, 64)
		per := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
		if err != nil || math.Abs(float64(every)*n-float64(per)) > n*(1+1e-9*float64(every)) {
			t.Fatalf("ParseRate(%q) = %v: so many tasks do not take %v", s, every, per)
		}
	})
}

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
