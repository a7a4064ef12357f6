// Package moment reads the times that people type: on command lines and in the filters of pages.
package moment

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// forms are the layouts of times, in the zone of this machine where they have none.
var forms = []string{time.RFC3339Nano, "2006-01-02 15:04:05 -07:00", "2006-01-02 15:04 -07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

// Parse returns a moment: a time before now such as 90m or 7d, a day, or a day with a time. The
// error says how to write one.
func Parse(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	s := text
	if t, is := strings.CutSuffix(s, " UTC"); is { // as the program writes times
		s = t + " +00:00"
	}
	for _, form := range forms {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	ago, err := span(text)
	if err != nil || ago < 0 {
		return time.Time{}, fmt.Errorf("%q is not a time; write a time ago such as 90m, 2h or 7d, a day such as 2026-11-29, or 2026-11-29T14:00", text)
	}
	return now.Add(-ago), nil
}

// End returns a moment to come: a time from now on such as 12h or 30d, a day, or a day with a
// time.
func End(text string, now time.Time) (time.Time, error) {
	t, err := Parse(text, now)
	if err != nil {
		return t, fmt.Errorf("%q is not a time; write a time from now on such as 12h or 30d, a day such as 2026-12-24, or 2026-12-24T14:00", text)
	}
	if ago, err := span(strings.TrimSpace(text)); err == nil {
		return now.Add(ago), nil
	}
	return t, nil
}

func span(text string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(text, "d")
	if !isDays {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseFloat(days, 64)
	return time.Duration(n * 24 * float64(time.Hour)), err
}
