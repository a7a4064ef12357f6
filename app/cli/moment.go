package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// moment is a time on the command line: a time ago, a day, or a day with a time.
type moment struct{ time.Time }

// momentForms are the layouts of times, in the zone of this machine where they have none.
var momentForms = []string{time.RFC3339Nano, "2006-01-02 15:04:05 -07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *moment) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	for _, form := range momentForms {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			m.Time = t
			return nil
		}
	}
	ago, err := time.ParseDuration(s)
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		ago = time.Duration(n * 24 * float64(time.Hour))
	}
	if err != nil || ago < 0 {
		return fmt.Errorf("%q is not a time; write a time ago such as 90m, 2h or 7d, a day such as 2026-11-29, or 2026-11-29T14:00", s)
	}
	m.Time = time.Now().Add(-ago)
	return nil
}

// clock writes a time in the zone of this machine, with its offset.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 -07:00") }

// spell writes a duration for people.
func spell(d time.Duration) string {
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

// fold breaks text into lines of at most width columns. Every line but the first begins
// with indent, and the first with the spaces of text. A width of 0 breaks nothing.
func fold(text string, width int, indent string) string {
	if width <= 0 || cells(text) <= width {
		return text
	}
	words := strings.TrimLeft(text, " ")
	start := text[:len(text)-len(words)]
	var b strings.Builder
	b.WriteString(start)
	used, begins := len(start), true
	for word := range strings.SplitSeq(words, " ") {
		n := cells(word)
		switch {
		case begins:
		case used+1+n > width:
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used, begins = used+n, false
	}
	return b.String()
}

// defaultWidth is the width of outputs of paragraphs where there is no terminal.
const defaultWidth = 80

// paragraphWidth returns the width of paragraphs: that of the terminal, up to 100.
func paragraphWidth(t terminal) int {
	if w := columns(t.out); w > 0 {
		return min(max(w, 40), 100)
	}
	return defaultWidth
}
