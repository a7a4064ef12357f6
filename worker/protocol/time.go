package protocol

import (
	"errors"
	"time"
)

var errTime = errors.New("not an ISO 8601 time")

// FormatTime writes t as Python's datetime.isoformat does for an aware time in
// UTC: 2026-11-23T20:28:41.188338+00:00, without a fraction when it is zero.
// Nanoseconds are cut off.
func FormatTime(t time.Time) string {
	return string(appendTime(make([]byte, 0, 32), t))
}

func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC().Truncate(time.Microsecond)
	if t.Nanosecond() == 0 {
		return t.AppendFormat(dst, "2006-01-02T15:04:05+00:00")
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05.000000+00:00")
}

// ParseTime reads a time of ISO 8601 as dateutil.parser.isoparse, which Celery
// uses, does: basic or extended form, a calendar, ordinal or week date, T or a
// space before the time, a fraction of the second behind a point or a comma,
// and Z or an offset of hours and minutes. Parts may be left out from the end
// on, but there is no time of day without a whole date. Without an offset the
// time is UTC; otherwise the offset is kept as the location.
//
// Digits beyond nanoseconds are cut off. The error never holds the text.
func ParseTime(s string) (time.Time, error) {
	p := timeParser{rest: s, ok: true}
	year, month, day := p.date()
	var clock clock
	zone := time.UTC
	if p.ok && p.rest != "" {
		if p.partial || !p.skip("T") && !p.skip("t") && !p.skip(" ") {
			return time.Time{}, errTime
		}
		clock = p.clock()
		zone = p.zone()
	}
	if !p.ok || p.rest != "" || !clock.valid() {
		return time.Time{}, errTime
	}
	// time.Date takes the 31st of February for the 3rd of March; we do not.
	date := time.Date(year, month, day, 0, 0, 0, 0, zone)
	if date.Day() != day || date.Month() != month {
		return time.Time{}, errTime
	}
	t := time.Date(year, month, day, clock.hour, clock.minute, clock.second, clock.nano, zone)
	if y := t.UTC().Year(); y < 1 || y > 9999 { // the range of Python's datetime
		return time.Time{}, errTime
	}
	return t, nil
}

// clock is a time of day.
type clock struct{ hour, minute, second, nano int }

// valid allows 24:00, which is midnight at the end of the day.
func (c clock) valid() bool {
	if c.hour == 24 {
		return c == clock{hour: 24}
	}
	return c.hour < 24 && c.minute < 60 && c.second < 60
}

// timeParser cuts parts off the front of rest. After a fault ok is false.
type timeParser struct {
	rest    string
	ok      bool
	partial bool // the date had no day
}

func (p *timeParser) skip(c string) bool {
	if p.rest != "" && p.rest[:1] == c {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

// digitsAhead counts the digits that come next.
func (p *timeParser) digitsAhead() int {
	n := 0
	for n < len(p.rest) && '0' <= p.rest[n] && p.rest[n] <= '9' {
		n++
	}
	return n
}

// number reads exactly n digits.
func (p *timeParser) number(n int) int {
	if p.digitsAhead() < n {
		p.ok = false
		return 0
	}
	v := 0
	for _, c := range []byte(p.rest[:n]) {
		v = v*10 + int(c-'0')
	}
	p.rest = p.rest[n:]
	return v
}

func (p *timeParser) date() (year int, month time.Month, day int) {
	year, month, day = p.number(4), 1, 1
	extended := p.skip("-")
	switch n := p.digitsAhead(); {
	case p.skip("W"):
		return p.week(year, extended)
	case n == 3:
		return p.ordinal(year)
	case extended && n == 2:
		month = time.Month(p.number(2))
		if p.partial = !p.skip("-"); !p.partial {
			day = p.number(2)
		}
	case !extended && n == 4:
		month, day = time.Month(p.number(2)), p.number(2)
	case extended || n > 0: // YYYYMM would be YYMMDD to others
		p.ok = false
	default:
		p.partial = true
	}
	return year, month, day
}

func (p *timeParser) ordinal(year int) (int, time.Month, int) {
	n := p.number(3)
	t := time.Date(year, time.January, n, 0, 0, 0, 0, time.UTC)
	if n == 0 || t.Year() != year {
		p.ok = false
	}
	return t.Date()
}

// week reads the week and, Monday unless given, the day of an ISO week date.
func (p *timeParser) week(year int, extended bool) (int, time.Month, int) {
	week, day := p.number(2), 1
	switch n := p.digitsAhead(); {
	case extended && p.skip("-"), !extended && n > 0:
		day = p.number(1)
	default:
		p.partial = true
	}
	// The 4th of January is always in week 1.
	fourth := time.Date(year, time.January, 4, 0, 0, 0, 0, time.UTC)
	monday := fourth.AddDate(0, 0, -(int(fourth.Weekday())+6)%7)
	t := monday.AddDate(0, 0, (week-1)*7+day-1)
	if y, w := t.ISOWeek(); y != year || w != week || day < 1 || day > 7 {
		p.ok = false
	}
	return t.Date()
}

func (p *timeParser) clock() (c clock) {
	c.hour = p.number(2)
	extended := p.skip(":")
	if !extended && p.digitsAhead() == 0 {
		return c
	}
	c.minute = p.number(2)
	if extended && !p.skip(":") || !extended && p.digitsAhead() == 0 {
		return c
	}
	c.second = p.number(2)
	if p.skip(".") || p.skip(",") {
		n := p.digitsAhead()
		keep := min(n, 9)
		c.nano = p.number(max(keep, 1))
		for range 9 - keep {
			c.nano *= 10
		}
		p.rest = p.rest[n-keep:]
	}
	return c
}

func (p *timeParser) zone() *time.Location {
	sign := 1
	switch {
	case p.rest == "":
		return time.UTC
	case p.skip("Z"), p.skip("z"):
		return time.UTC
	case p.skip("-"):
		sign = -1
	case !p.skip("+"):
		p.ok = false
		return time.UTC
	}
	hours, minutes := p.number(2), 0
	if p.skip(":") || p.rest != "" {
		minutes = p.number(2)
	}
	if hours > 23 || minutes > 59 {
		p.ok = false
	}
	if hours == 0 && minutes == 0 {
		return time.UTC
	}
	return time.FixedZone("", sign*(hours*60+minutes)*60)
}
