package term

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
)

// Age writes the time since at in a few characters, such as 5m or 2d.
func Age(at time.Time) string {
	d := max(0, time.Since(at))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Moment is a time on the command line: a time ago, a day, or a day with a time.
type Moment struct{ time.Time }

// momentForms are the layouts of times, in the zone of this machine where they have none.
var momentForms = []string{time.RFC3339Nano, "2006-01-02 15:04:05 -07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Moment) UnmarshalText(text []byte) error {
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

// Clock writes a time in the zone of this machine, with its offset.
func Clock(t time.Time) string { return words.Clock(t) }

// Spell writes a duration for people.
func Spell(d time.Duration) string { return words.Spell(d) }

// Until tells how far a time is from now.
func Until(t time.Time) string { return words.Until(t) }
