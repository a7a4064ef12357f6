package term

import (
	"testing"
)

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text string
		n    int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"漢字漢字", 8, "漢字漢字"}, {"漢字漢字", 7, "漢字漢…"}, {"漢字漢字", 6, "漢字…"},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"}, {"", 0, ""}, {"ab", 1, "…"},
	} {
		if got := Cut(test.text, test.n); got != test.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", test.text, test.n, got, test.want)
		}
	}
}
