package templates

import (
	"errors"
	"strings"
	"time"
)

// When is a calendar date, or a moment. The zero value is neither and leaves
// its line out of a mail.
type When struct {
	t       time.Time
	hasTime bool
}

// ParseWhen reads what Python's date.isoformat and datetime.isoformat write: a
// date, or a date and a time with "T" or a space between them, with or without
// a zone. A time without a zone is taken as UTC, which is what the producers
// mean by it. The error never repeats the input.
func ParseWhen(s string) (When, error) {
	s = strings.TrimSpace(s)
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return When{t: t}, nil
	}
	if len(s) > 10 && (s[10] == ' ' || s[10] == 't') {
		s = s[:10] + "T" + s[11:]
	}
	// A fraction after the seconds is accepted by time.Parse without a layout
	// of its own.
	for _, layout := range []string{
		"2006-01-02T15:04:05", "2006-01-02T15:04",
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00",
		"2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z0700",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return WhenAt(t), nil
		}
	}
	return When{}, errors.New("read date: want an ISO 8601 date or date and time")
}

// WhenAt is the moment t.
func WhenAt(t time.Time) When { return When{t: t.UTC(), hasTime: true} }

// WhenOn is the calendar date that t has in its own location.
func WhenOn(t time.Time) When {
	y, m, d := t.Date()
	return When{t: time.Date(y, m, d, 0, 0, 0, 0, time.UTC)}
}

// IsZero reports whether w is neither a date nor a moment.
func (w When) IsZero() bool { return w.t.IsZero() && !w.hasTime }

// String prints "23 November 2026" for a date, "23 November 2026, 20:15 UTC"
// for a moment and "" for the zero value. The month is a word, as 03/04 means
// two different days in two countries.
func (w When) String() string {
	switch {
	case w.IsZero():
		return ""
	case w.hasTime:
		return w.t.Format("2 January 2006, 15:04 UTC")
	default:
		return w.t.Format("2 January 2006")
	}
}
