// Package words writes times, durations and foreign text for people: on terminals and on pages.
package words

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Clock writes a time in the zone of this machine, with its offset.
func Clock(t time.Time) string {
	t = t.Local()
	if _, offset := t.Zone(); offset == 0 {
		return t.Format("2006-01-02 15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 -07:00")
}

// Spell writes a duration.
func Spell(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return pair(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 48*time.Hour:
		return pair(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func pair(n int, unit string, rest int, smaller string) string {
	if rest == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, rest, smaller)
}

// Until tells how far a time is from now.
func Until(t time.Time) string {
	if d := time.Until(t); d > 0 {
		return "in " + Spell(d)
	}
	return Spell(time.Since(t)) + " ago"
}

// Line makes foreign text fit for one line: it shows no control character, "-" for an empty
// text, and the beginning of a long one.
func Line(text string) string {
	const most = 500
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
