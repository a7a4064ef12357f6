// Package isotime reads times of ISO 8601 as dateutil.parser.isoparse does.
package isotime

import "time"

// Parse reads a time, see protocol.ParseTime.
func Parse(s string) (t time.Time, ok bool) {
	p := Cutter{Rest: s, OK: true}
	year, month, day := p.date()
	var clock clock
	zone := time.UTC
	if p.OK && p.Rest != "" {
		if p.partial || !p.Skip("T") && !p.Skip("t") && !p.Skip(" ") {
			return time.Time{}, false
		}
		clock = p.clock()
		zone = p.zone()
	}
	if !p.OK || p.Rest != "" || !clock.valid() {
		return time.Time{}, false
	}
	// time.Date takes the 31st of February for the 3rd of March; Parse refuses it.
	date := time.Date(year, month, day, 0, 0, 0, 0, zone)
	if date.Day() != day || date.Month() != month {
		return time.Time{}, false
	}
	t = time.Date(year, month, day, clock.hour, clock.minute, clock.second, clock.nano, zone)
	if y := t.UTC().Year(); y < 1 || y > 9999 { // the range of Python's datetime
		return time.Time{}, false
	}
	return t, true
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

// Cutter cuts parts off the front of Rest. After a fault OK is false.
type Cutter struct {
	Rest    string
	OK      bool
	partial bool // the date had no day
}

// Skip cuts off one character, if it is c.
func (c *Cutter) Skip(char string) bool {
	if c.Rest != "" && c.Rest[:1] == char {
		c.Rest = c.Rest[1:]
		return true
	}
	return false
}

// DigitsAhead counts the digits that come next.
func (c *Cutter) DigitsAhead() int {
	n := 0
	for n < len(c.Rest) && '0' <= c.Rest[n] && c.Rest[n] <= '9' {
		n++
	}
	return n
}

// Number reads exactly n digits.
func (c *Cutter) Number(n int) int {
	if c.DigitsAhead() < n {
		c.OK = false
		return 0
	}
	v := 0
	for _, digit := range []byte(c.Rest[:n]) {
		v = v*10 + int(digit-'0')
	}
	c.Rest = c.Rest[n:]
	return v
}

func (c *Cutter) date() (year int, month time.Month, day int) {
	year, month, day = c.Number(4), 1, 1
	extended := c.Skip("-")
	switch n := c.DigitsAhead(); {
	case c.Skip("W"):
		return c.week(year, extended)
	case n == 3:
		return c.ordinal(year)
	case extended && n == 2:
		month = time.Month(c.Number(2))
		if c.partial = !c.Skip("-"); !c.partial {
			day = c.Number(2)
		}
	case !extended && n == 4:
		month, day = time.Month(c.Number(2)), c.Number(2)
	case extended || n > 0: // other readers take YYYYMM for YYMMDD
		c.OK = false
	default:
		c.partial = true
	}
	return year, month, day
}

func (c *Cutter) ordinal(year int) (int, time.Month, int) {
	n := c.Number(3)
	t := time.Date(year, time.January, n, 0, 0, 0, 0, time.UTC)
	if n == 0 || t.Year() != year {
		c.OK = false
	}
	return t.Date()
}

// week reads the week and, Monday unless given, the day of an ISO week date.
func (c *Cutter) week(year int, extended bool) (int, time.Month, int) {
	week, day := c.Number(2), 1
	switch n := c.DigitsAhead(); {
	case extended && c.Skip("-"), !extended && n > 0:
		day = c.Number(1)
	default:
		c.partial = true
	}
	// The 4th of January is always in week 1.
	fourth := time.Date(year, time.January, 4, 0, 0, 0, 0, time.UTC)
	monday := fourth.AddDate(0, 0, -(int(fourth.Weekday())+6)%7)
	t := monday.AddDate(0, 0, (week-1)*7+day-1)
	if y, w := t.ISOWeek(); y != year || w != week || day < 1 || day > 7 {
		c.OK = false
	}
	return t.Date()
}

func (c *Cutter) clock() (t clock) {
	t.hour = c.Number(2)
	extended := c.Skip(":")
	if !extended && c.DigitsAhead() == 0 {
		return t
	}
	t.minute = c.Number(2)
	if extended && !c.Skip(":") || !extended && c.DigitsAhead() == 0 {
		return t
	}
	t.second = c.Number(2)
	if c.Skip(".") || c.Skip(",") {
		n := c.DigitsAhead()
		keep := min(n, 9)
		t.nano = c.Number(max(keep, 1))
		for range 9 - keep {
			t.nano *= 10
		}
		c.Rest = c.Rest[n-keep:]
	}
	return t
}

func (c *Cutter) zone() *time.Location {
	sign := 1
	switch {
	case c.Rest == "":
		return time.UTC
	case c.Skip("Z"), c.Skip("z"):
		return time.UTC
	case c.Skip("-"):
		sign = -1
	case !c.Skip("+"):
		c.OK = false
		return time.UTC
	}
	hours, minutes := c.Number(2), 0
	if c.Skip(":") || c.Rest != "" {
		minutes = c.Number(2)
	}
	if hours > 23 || minutes > 59 {
		c.OK = false
	}
	if hours == 0 && minutes == 0 {
		return time.UTC
	}
	return time.FixedZone("", sign*(hours*60+minutes)*60)
}
