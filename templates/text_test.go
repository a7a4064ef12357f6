package templates_test

import (
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
		if strings.ReplaceAll(templates.Unlink(got), "\u200c", "") != strings.ReplaceAll(got, "\u200c", "") {
			t.Errorf("Unlink changes more than it should: %q", templates.Unlink(got))
		}
	})
}

func TestUnlink(t *testing.T) {
	for in, want := range map[string]string{
		"Jazz":                  "Jazz",
		"https://evil.example":  "https:|//evil.|example",
		"www.evil.example":      "www.|evil.|example",
		"ann@evil.example":      "ann@|evil.|example",
		"tel:5551234":           "tel:|5551234",
		"1:tel:5551234":         "1:|tel:|5551234",
		"evil。example":          "evil。|example",
		"St. Ives, 20:15":       "St. Ives, 20:15",
		"Go 1.26 at 59.90 EUR.": "Go 1.26 at 59.90 EUR.",
		"Live: tonight":         "Live: tonight",
		"Wait...what":           "Wait.|.|.|what",
	} {
		if got := strings.ReplaceAll(templates.Unlink(in), "\u200c", "|"); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestMoney(t *testing.T) {
	for _, test := range []struct{ amount, code, want string }{
		{"59.9", "EUR", "59.90 EUR"},
		{"59.90", "", "59.90"},
		{" 59.90 ", " eur ", "59.90 EUR"},
		{"0", "", "0.00"},
		{"0.0", "USD", "0.00 USD"},
		{"-0", "USD", "0.00 USD"},
		{"-12.5", "USD", "-12.50 USD"},
		{"+7", "GBP", "7.00 GBP"},
		{"1500", "JPY", "1500 JPY"},
		{"1500.00", "JPY", "1500 JPY"},
		{"1500.5", "JPY", "1500.5 JPY"},
		{"1.2", "KWD", "1.200 KWD"},
		{"0.1234", "EUR", "0.1234 EUR"},
		{".5", "", "0.50"},
		{"5.", "", "5.00"},
		{"007", "", "7.00"},
		{"1e3", "EUR", "1000.00 EUR"},
		{"5.99E+1", "EUR", "59.90 EUR"},
		{"599e-1", "EUR", "59.90 EUR"},
		{"1e-3", "EUR", "0.001 EUR"},
		{"0e9", "", "0.00"},
		{"0.1", "", "0.10"},
		{"12500", "EUR", "12,500.00 EUR"},
		{"123456789.95", "USD", "123,456,789.95 USD"},
		{"9007199254740993.01", "USD", "9,007,199,254,740,993.01 USD"},
	} {
		m, err := templates.ParseMoney(test.amount, test.code)
		if err != nil || m.String() != test.want {
			t.Errorf("ParseMoney(%q, %q) is %q, %v; want %q", test.amount, test.code, m, err, test.want)
		}
	}
	for _, bad := range [][2]string{
		{"", ""}, {".", ""}, {"-", ""}, {"1,250.00", ""}, {"12 50", ""}, {"NaN", ""}, {"Infinity", ""}, {"0x10", ""}, {"1_000", ""}, {"--1", ""},
		{"1e", ""}, {"1e99", ""}, {"1e999999999", ""}, {"1e-99", ""}, {strings.Repeat("9", 30), ""}, {strings.Repeat("0", 1000) + "1", ""}, {"٣", ""},
		{"1", "EURO"}, {"1", "€"}, {"1", "E1R"}, {"1", "<b>"},
	} {
		m, err := templates.ParseMoney(bad[0], bad[1])
		if err == nil {
			t.Errorf("ParseMoney(%q, %q) is %q; want an error", bad[0], bad[1], m)
		}
		if (m != templates.Money{}) {
			t.Errorf("ParseMoney(%q, %q) returns an amount beside its error", bad[0], bad[1])
		}
	}
	if got := (templates.Money{}).String(); got != "0.00" {
		t.Errorf("no amount prints %q", got)
	}
}

// What Python computes with floats, as it writes it.
func TestMoneyOfNumbers(t *testing.T) {
	for _, test := range []struct{ number, code, want string }{
		{"59.699999999999996", "EUR", "59.70 EUR"}, // 19.9*3
		{"0.30000000000000004", "EUR", "0.30 EUR"}, // 0.1*3
		{"349.65000000000003", "", "349.65"},       // 49.95*7
		{"33.333333333333336", "EUR", "33.33 EUR"}, // 100/3
		{"66.66666666666667", "", "66.67"},
		{"-59.699999999999996", "EUR", "-59.70 EUR"},
		{"9.999999999999998", "EUR", "10.00 EUR"},
		{"99.99999999999999", "", "100.00"},
		{"9999.999999999998", "", "10,000.00"},
		{"1500.0000000000002", "JPY", "1500 JPY"},
		{"1499.9999999", "JPY", "1500 JPY"},
		{"1.2000000000000002", "KWD", "1.200 KWD"},
		{"1.2340000001", "KWD", "1.234 KWD"},
		{"5.551115123125783e-17", "USD", "0.00 USD"}, // 0.1+0.2-0.3
		{"-5e-324", "USD", "0.00 USD"},
		{"1e-07", "", "0.00"},
		{"0.9999999", "", "1.00"},
		{"12345678901234.566", "", "12,345,678,901,234.57"},

		// What was meant stays.
		{"59.9", "EUR", "59.90 EUR"},
		{"60", "", "60.00"},
		{"0.125", "EUR", "0.125 EUR"},
		{"19.955", "", "19.955"},
		{"1500.5", "JPY", "1500.5 JPY"},
		{"0.0001", "EUR", "0.0001 EUR"},
		{"1e3", "EUR", "1000.00 EUR"},
		{"9007199254740993.01", "USD", "9,007,199,254,740,993.01 USD"},
	} {
		m, err := templates.ParseMoneyNumber(test.number, test.code)
		if err != nil || m.String() != test.want {
			t.Errorf("ParseMoneyNumber(%q, %q) is %q, %v; want %q", test.number, test.code, m, err, test.want)
		}
	}
	for _, bad := range []string{"", "-", "NaN", "Infinity", "0x1p-40", "1e99", "1e999"} {
		if m, err := templates.ParseMoneyNumber(bad, ""); err == nil {
			t.Errorf("ParseMoneyNumber(%q) is %q; want an error", bad, m)
		}
	}
}

// Exact amounts are shown as they are, however many digits they have.
func TestMoneyOfText(t *testing.T) {
	for in, want := range map[string]string{"59.699999999999996": "59.699999999999996", "0.30000000000000004": "0.30000000000000004"} {
		if m, err := templates.ParseMoney(in, ""); err != nil || m.String() != want {
			t.Errorf("ParseMoney(%q) is %q, %v; want %q", in, m, err, want)
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
	} {
		w, err := templates.ParseWhen(in)
		if err != nil || w.String() != want || w.IsZero() {
			t.Errorf("ParseWhen(%q) is %q, %v; want %q", in, w, err, want)
		}
	}
	for _, bad := range []string{"", "today", "23.11.2026", "2026-13-01", "2026-02-30", "2026-11-23T25:00", "2026-11-23T", "1763928904", "None"} {
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
