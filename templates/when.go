package templates

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// When is a calendar date, or a moment. A mail leaves out the line of the zero value, which
// is neither.
type When struct {
	t       time.Time
	hasTime bool
}

// firstYear is the first year of a valid date. Earlier dates are the zero of a clock:
// 1 January 1970 in seconds, the year 1 in Go and .NET.
const firstYear = 1971

var errDate = errors.New("read date: want an ISO 8601 date or date and time")

// ParseWhen reads a date, or a date and a time, as Python's isoformat, PostgreSQL, Go and
// JavaScript write them ("2026-11-23", "2026-11-23 20:15:00.5+00", "20261123T201500Z"),
// as HTTP and mail do ("Mon, 23 Nov 2026 20:15:00 GMT"), with the month as an English word
// ("23 November 2026"), or as seconds, milliseconds, microseconds or nanoseconds since 1970.
// A time without a zone is UTC, as the producers mean it. The error never repeats the input.
func ParseWhen(s string) (When, error) {
	s = Plain(s)
	if len(s) > 100 {
		return When{}, errDate
	}
	w, err := parseISO(s)
	if err != nil {
		w, err = parseEpoch(s)
	}
	if err != nil {
		w, err = parseWords(s)
	}
	if err != nil || w.t.Year() < firstYear || w.t.Year() > 9999 {
		return When{}, errDate
	}
	return w, nil
}

// isoForm matches a date, a time and a zone of ISO 8601 in the extended or the basic form.
// It also takes slashes, a time of hours only, a zone of hours only or with seconds, spaces,
// and after an offset the name of the zone as Go and Java print it. The offset of a zone that
// has only a name is unknown.
var isoForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(\d{4})([-/.]?)(\d{1,2})([-/.]?)(\d{1,2})` +
		`(?:(?:[Tt]| +)(\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d+))?)?)?` +
		`(?: ?([Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)(?: [A-Z]{3,4}|\[[\w/+-]+\])?)?)?$`)
})

func parseISO(s string) (When, error) {
	m := isoForm().FindStringSubmatch(s)
	if m == nil || m[2] != m[4] || m[2] == "" && len(m[3]+m[5]) != 4 {
		return When{}, errDate
	}
	number := func(i int) int { n, _ := strconv.Atoi(m[i]); return n } // digits, or nothing
	date := time.Date(number(1), time.Month(number(3)), number(5), 0, 0, 0, 0, time.UTC)
	if date.Day() != number(5) || int(date.Month()) != number(3) { // the 31st of February is not the 3rd of March
		return When{}, errDate
	}
	if m[6] == "" {
		return When{t: date}, nil
	}
	hour, minute, second := number(6), number(7), number(8)
	if hour > 24 || minute > 59 || second > 60 || hour == 24 && minute+second > 0 {
		return When{}, errDate
	}
	offset, ok := zoneOffset(m[10])
	if !ok {
		return When{}, errDate
	}
	clock := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	return WhenAt(date.Add(clock - offset)), nil
}

// zoneOffset returns how far a zone is ahead of UTC.
func zoneOffset(zone string) (time.Duration, bool) {
	if zone == "" || zone[0] != '+' && zone[0] != '-' {
		return 0, true
	}
	parts := strings.ReplaceAll(zone[1:], ":", "") + "0000"
	hours, _ := strconv.Atoi(parts[:2]) // the form has digits only
	minutes, _ := strconv.Atoi(parts[2:4])
	seconds, _ := strconv.Atoi(parts[4:6])
	offset := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second
	if zone[0] == '-' {
		offset = -offset
	}
	return offset, hours < 24 && minutes < 60 && seconds < 60
}

// parseWords reads a date, or a date and a time, whose month is an English word.
func parseWords(s string) (When, error) {
	for _, layout := range []string{"2 January 2006", "2 Jan 2006", "January 2, 2006", "Jan 2, 2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return WhenOn(t), nil
		}
	}
	s, _, _ = strings.Cut(s, " (") // JavaScript adds the name of the zone
	for _, layout := range []string{
		time.RFC1123, time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 -0700", time.ANSIC,
		"Mon Jan 2 2006 15:04:05 GMT-0700", "2 January 2006, 15:04 MST",
	} {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		// The offset of a named zone other than GMT and UTC is unknown.
		if zone, offset := t.Zone(); offset == 0 && zone != "UTC" && zone != "GMT" && zone != "" {
			return When{}, errDate
		}
		return WhenAt(t), nil
	}
	return When{}, errDate
}

// parseEpoch reads a time since 1970. The number of digits tells its unit, because all times
// from 2001 on have ten digits in seconds.
func parseEpoch(s string) (When, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	if !digits(whole) || !digits(fraction) {
		f, err := strconv.ParseFloat(s, 64) // 1.763928904e+09
		if err != nil || math.Abs(f) > 1e19 || strings.Trim(s, "0123456789.eE+") != "" {
			return When{}, errDate
		}
		whole = strconv.FormatFloat(math.Trunc(f), 'f', -1, 64)
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return When{}, errDate
	}
	switch len(whole) {
	case 10:
		return WhenAt(time.Unix(n, 0)), nil
	case 13:
		return WhenAt(time.UnixMilli(n)), nil
	case 16:
		return WhenAt(time.UnixMicro(n)), nil
	case 19:
		return WhenAt(time.Unix(0, n)), nil
	}
	return When{}, errDate
}

// WhenAt returns the moment t.
func WhenAt(t time.Time) When { return When{t: t.UTC(), hasTime: true} }

// WhenOn returns the calendar date of t in the location of t.
func WhenOn(t time.Time) When {
	y, m, d := t.Date()
	return When{t: time.Date(y, m, d, 0, 0, 0, 0, time.UTC)}
}

// IsZero reports whether w is neither a date nor a moment.
func (w When) IsZero() bool { return w.t.IsZero() && !w.hasTime }

// Date returns a date or a moment in the language of the mail, as [When.String] does in English.
// Files of words have the names of the months, and the order of the parts.
func (p *Page) Date(w When) string {
	if p.words == nil || w.IsZero() {
		return w.String()
	}
	form := p.Word("{day} {month} {year}")
	if moment := p.Word("{day} {month} {year}, {time} UTC"); w.hasTime {
		form = moment
	}
	month := ""
	for m := time.January; m <= time.December; m++ {
		if name := p.Word(m.String()); m == w.t.Month() {
			month = name
		}
	}
	return strings.NewReplacer("{day}", w.t.Format("2"), "{month}", month, "{year}", w.t.Format("2006"), "{time}", w.t.Format("15:04")).Replace(form)
}

// String returns "23 November 2026" for a date, "23 November 2026, 20:15 UTC" for a moment
// and "" for the zero value. The month is a word, because 03/04 means two different days in
// two countries.
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
