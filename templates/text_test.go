package templates_test

import (
	"html"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evently/workers/templates"
)

func TestClean(t *testing.T) {
	for _, test := range []struct {
		name, in string
		limit    int
		want     string
	}{
		{"plain", "Ann Keller", 20, "Ann Keller"},
		{"spaces", "  Ann\t\r\n \u00a0\u3000Keller\n", 20, "Ann Keller"},
		{"header", "Ann\r\nBcc: x", 20, "Ann Bcc: x"},
		{"separators", "a\u2028b\u2029c\u0085d", 20, "a b c d"},
		{"controls", "a\x00b\x1bc\x7fd\u009fe", 20, "abcde"},
		{"bidi", "a\u202eb\u2066c\u2069d\u200ee\u061cf", 20, "abcdef"},
		{"zero width", "a\u200bb\ufeffc\u2060d\u00ade", 20, "abcde"},
		{"joiners in ASCII", "ev\u200cil\u200d", 20, "evil"},
		{"joiner in Persian", "می\u200cخواهم", 20, "می\u200cخواهم"},
		{"joined emoji", "👩\u200d👩\u200d👧", 20, "👩\u200d👩\u200d👧"},
		{"doubled joiner", "é\u200d\u200dé", 20, "é\u200dé"},
		{"tags", "a\U000e0065\U000e007fb", 20, "ab"},
		{"fillers", "a\u3164\u115f\u2800b", 20, "ab"},
		{"private, noncharacters", "a\ue000\ufdd0\ufffe\U0010ffffb", 20, "ab"},
		{"not UTF-8", "a\xff\xfeb\xe2\x82", 20, "ab"},
		{"leading accent", "\u0301a", 20, "a"},
		{"accents", "a" + strings.Repeat("\u0301", 50), 20, "a" + strings.Repeat("\u0301", 8)},
		{"nothing", " \u200b\n", 20, ""},
		{"at the limit", "abcde", 5, "abcde"},
		{"above", "abcdef", 5, "abcd…"},
		{"above, at a space", "abc def", 5, "abc…"},
		{"above, in an accent", "abcde\u0301f", 5, "abcd…"},
		{"above, in an emoji", "ab👩\u200d👩\u200d👧", 5, "ab…"},
		{"above, in a skin tone", "abc👍🏽d", 5, "abc…"},
		{"huge", strings.Repeat("abcde ", 1_000_000), 5, "abcd…"},
	} {
		if got := templates.Clean(test.in, test.limit); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range hostile() {
		f.Add(s, 10)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 2 + max(0, limit)%200
		got := templates.Clean(s, limit)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > limit || strings.TrimSpace(got) != got || strings.Contains(got, "  ") {
			t.Errorf("Clean(%q, %d) is %q", s, limit, got)
		}
		if i := strings.IndexFunc(got, forbidden); i >= 0 {
			t.Errorf("Clean(%q) lets %q pass", s, got[i:])
		}
		if again := templates.Clean(got, limit); again != got {
			t.Errorf("Clean of %q is %q", got, again)
		}
		if plain := strings.NewReplacer("<span>", "", "</span>", "").Replace(templates.Unlink(got)); html.UnescapeString(plain) != got {
			t.Errorf("Unlink changes more than it should: %q", templates.Unlink(got))
		}
	})
}

func TestUnlink(t *testing.T) {
	for in, want := range map[string]string{
		"Jazz":                  "Jazz",
		"ann.lee":               "ann<span>.</span>lee",
		"https://evil.example":  "https<span>:</span>//evil<span>.</span>example",
		"www.evil.example":      "www<span>.</span>evil<span>.</span>example",
		"ann@evil.example":      "ann<span>@</span>evil<span>.</span>example",
		"tel:5551234":           "tel<span>:</span>5551234",
		"1:tel:5551234":         "1<span>:</span>tel<span>:</span>5551234",
		"evil。example":          "evil<span>。</span>example",
		"St. Ives, 20:15":       "St. Ives, 20:15",
		"Go 1.26 at 59.90 EUR.": "Go 1.26 at 59.90 EUR.",
		"Live: tonight":         "Live: tonight",
		"Wait...what":           "Wait<span>.</span><span>.</span><span>.</span>what",
		"<a.b>&":                "&lt;a<span>.</span>b&gt;&amp;",
		"<b>":                   "&lt;b&gt;",
	} {
		if got := templates.Unlink(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestWhen(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-23":                       "23 November 2026",
		" 2026-01-02 ":                     "2 January 2026",
		"2026-11-23T20:15:04.123456":       "23 November 2026, 20:15 UTC",
		"2026-11-23T20:15:04":              "23 November 2026, 20:15 UTC",
		"2026-11-23 20:15:04":              "23 November 2026, 20:15 UTC",
		"2026-11-23T20:15":                 "23 November 2026, 20:15 UTC",
		"2026-11-23T20:15:04Z":             "23 November 2026, 20:15 UTC",
		"2026-11-23T20:15:04.123456+00:00": "23 November 2026, 20:15 UTC",
		"2026-11-23T22:15:04+02:00":        "23 November 2026, 20:15 UTC",
		"2026-11-24T01:45:04+0530":         "23 November 2026, 20:15 UTC",
		"2024-02-29":                       "29 February 2024",
		"2026-11-23T20:15:60Z":             "23 November 2026, 20:16 UTC",
		"2026-11-22T24:00":                 "23 November 2026, 00:00 UTC",

		// PostgreSQL, by its DateStyle ISO and its JSON.
		"2026-11-23 20:15:00+00":                   "23 November 2026, 20:15 UTC",
		"2026-11-23 20:15:00.123+00":               "23 November 2026, 20:15 UTC",
		"2026-11-24 01:45:00+05:30":                "23 November 2026, 20:15 UTC",
		"2026-11-23 15:15:00-05":                   "23 November 2026, 20:15 UTC",
		"2026-11-23 21:08:28+00:53:28":             "23 November 2026, 20:15 UTC",
		"2026-11-23t20:15:00z":                     "23 November 2026, 20:15 UTC",
		"2026-11-23T20:15:00.123456789Z":           "23 November 2026, 20:15 UTC",
		"2026-11-23T20:15:00,5Z":                   "23 November 2026, 20:15 UTC",
		"2026-11-23 20:15:00 +0000 UTC":            "23 November 2026, 20:15 UTC",
		"2026-11-23 20:15:00 UTC":                  "23 November 2026, 20:15 UTC",
		"20261123T201500Z":                         "23 November 2026, 20:15 UTC",
		"20261123":                                 "23 November 2026",
		"2026/11/23":                               "23 November 2026",
		"2026-1-2":                                 "2 January 2026",
		"Mon, 23 Nov 2026 20:15:00 GMT":            "23 November 2026, 20:15 UTC",
		"Mon, 23 Nov 2026 21:15:00 +0100":          "23 November 2026, 20:15 UTC",
		"Mon Nov 23 20:15:00 2026":                 "23 November 2026, 20:15 UTC",
		"2026-11-23T20":                            "23 November 2026, 20:00 UTC", // isoformat(timespec="hours")
		"2026-11-23T20+00:00":                      "23 November 2026, 20:00 UTC",
		"2026-11-23T21:15:00+01:00[Europe/Zurich]": "23 November 2026, 20:15 UTC",
		"2026-11-23T20:15:00Z[UTC]":                "23 November 2026, 20:15 UTC",
		"Mon Nov 23 2026 21:15:00 GMT+0100 (Central European Standard Time)": "23 November 2026, 20:15 UTC",
		"Mon Nov 23 2026 20:15:00 GMT+0000":                                  "23 November 2026, 20:15 UTC",
		"23 November 2026":                                                   "23 November 2026",
		"November 23, 2026":                                                  "23 November 2026",
		"Nov 2, 2026":                                                        "2 November 2026",
		"2 Nov 2026":                                                         "2 November 2026",
		"23 November 2026, 20:15 UTC":                                        "23 November 2026, 20:15 UTC",
		"1795464900":                                                         "23 November 2026, 20:15 UTC",
		"1795464900.123":                                                     "23 November 2026, 20:15 UTC",
		"1.795464900123e+09":                                                 "23 November 2026, 20:15 UTC",
		"1795464900000":                                                      "23 November 2026, 20:15 UTC",
		"1795464900000000":                                                   "23 November 2026, 20:15 UTC",
		"1795464900000000000":                                                "23 November 2026, 20:15 UTC",
		"\ufeff2026-11-23\u200b":                                             "23 November 2026",
		"\u200e2026\u221211\u221223\u00a020:15\u00a0\n":                      "23 November 2026, 20:15 UTC",
	} {
		w, err := templates.ParseWhen(in)
		if err != nil || w.String() != want || w.IsZero() {
			t.Errorf("ParseWhen(%q) is %q, %v; want %q", in, w, err, want)
		}
	}
	for _, bad := range []string{
		"", "today", "23.11.2026", "11/23/2026", "2026-13-01", "2026-02-30", "2026-11-23T25:00", "2026-11-23T", "None", "infinity", "-infinity", "NaN", "Infinity",
		"2026-11-23T24:01", "2026-11-23T20:60", "2026-11-23T20:15+99:00", "2026-11-23T20:15+05:60", "2026-11-2320:15", "2026-11/23", "202611", "2026-11", "2026111",
		"0001-01-01T00:00:00Z", "0001-01-01", "1970-01-01 00:00:00+00", "0", "0.0", "1e300", "1e-5", "17639289", "-1763928904", "Mon, 23 Nov 2026 20:15:00 EST",
		"2026-11-23 20:15:00 PST", "2026-11-23 20:15:00 CEST", "2026-11-23T20:15:00[Europe/Zurich]", "2026-11-23T20:15:00 Europe/Zurich", "Mon Nov 23 20:15:00 PST 2026",
		"31 November 2026", "23 November 2026, 20:15 CET", "2026-11-23T2", "2026-11-23 UTC",
		"2026\n-11-23", strings.Repeat("1", 200), "9999999999999999999",
	} {
		if w, err := templates.ParseWhen(bad); err == nil || !w.IsZero() {
			t.Errorf("ParseWhen(%q) is %q, %v; want an error", bad, w, err)
		}
	}
	if w := (templates.When{}); !w.IsZero() || w.String() != "" {
		t.Errorf("no date prints %q", w)
	}
	at := time.Date(2026, 11, 24, 1, 30, 0, 0, time.FixedZone("", 2*3600))
	if got := templates.WhenAt(at).String(); got != "23 November 2026, 23:30 UTC" {
		t.Errorf("WhenAt prints %q", got)
	}
	if got := templates.WhenOn(at).String(); got != "24 November 2026" {
		t.Errorf("WhenOn prints %q", got)
	}
}

func FuzzParseWhen(f *testing.F) {
	for _, s := range []string{"2026-11-23", "2026-11-23 20:15:00.5+00", "20261123T201500Z", "Mon, 23 Nov 2026 20:15:00 GMT", "1795464900", "1e300", "\u200b2026/1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w, err := templates.ParseWhen(s)
		if err != nil {
			if !w.IsZero() {
				t.Errorf("ParseWhen(%q) returns a date beside its error", s)
			}
			return
		}
		layout := "2 January 2006, 15:04 UTC"
		if !strings.Contains(w.String(), ",") {
			layout = "2 January 2006"
		}
		if shown, err := time.Parse(layout, w.String()); err != nil || shown.Year() < 1971 {
			t.Errorf("ParseWhen(%q) is %q, %v", s, w, err)
		}
	})
}
