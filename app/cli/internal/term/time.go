package term

import (
	"fmt"
	"time"

	"github.com/evently/workers/internal/moment"
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

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Moment) UnmarshalText(text []byte) (err error) {
	m.Time, err = moment.Parse(string(text), time.Now())
	return err
}

// Clock writes a time in the zone of this machine, with its offset.
func Clock(t time.Time) string { return words.Clock(t) }

// Spell writes a duration for people.
func Spell(d time.Duration) string { return words.Spell(d) }

// Until tells how far a time is from now.
func Until(t time.Time) string { return words.Until(t) }
