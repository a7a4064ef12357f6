package isotime_test

import (
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol/internal/isotime"
)

// The forms that isoparse reads, and texts that it refuses. Package protocol tests more.
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"2026-01-31T20:00:01.5+02:00": "2026-01-31T18:00:01.5Z",
		"20260131T200001,25Z":         "2026-01-31T20:00:01.25Z",
		"2026-W05-6 20":               "2026-01-31T20:00:00Z",
		"2026-031":                    "2026-01-31T00:00:00Z",
		"2026-01-31T24:00":            "2026-02-01T00:00:00Z",
		"2026":                        "2026-01-01T00:00:00Z",
		"2026-02-31":                  "",
		"202601":                      "",
		"2026-01T10":                  "",
		"2026-01-31T24:01":            "",
		"2026-01-31T10:00+24:00":      "",
		"":                            "",
	} {
		at, ok := isotime.Parse(text)
		got := ""
		if ok {
			got = at.UTC().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("Parse(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestCutter(t *testing.T) {
	c := isotime.Cutter{Rest: "12-3x", OK: true}
	if n := c.Number(2); n != 12 || !c.Skip("-") || c.Skip("-") || c.DigitsAhead() != 1 || !c.OK {
		t.Errorf("Number = %d, then %+v", n, c)
	}
	if c.Number(2); c.OK || c.Rest != "3x" {
		t.Errorf("a number that is too short: %+v", c)
	}
}
