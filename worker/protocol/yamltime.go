package protocol

import (
	"strconv"
	"strings"
	"time"
)

// isYAMLTimestamp is narrower than yamlTimestamp: a date alone has two digits
// for month and day.
func isYAMLTimestamp(s string) bool {
	typ, _, ok := splitTimestamp(s)
	return ok && (typ.clock || len(s) == len("2026-01-31"))
}

// yamlTime are the parts of a timestamp, not yet checked for their range.
type yamlTime struct {
	date     [3]int
	clock    bool
	time     [3]int
	fraction string
	zone     byte // 0: none, 'Z', '+' or '-'
	offset   int  // minutes
}

// splitTimestamp reads what PyYAML's timestamp_regexp does.
func splitTimestamp(s string) (t yamlTime, rest string, ok bool) {
	p := timeParser{rest: s, ok: true}
	t.date[0] = p.number(4)
	for i := range 2 {
		p.ok = p.skip("-") && p.ok
		t.date[1+i] = p.number(min(max(p.digitsAhead(), 1), 2))
	}
	if !p.ok {
		return t, "", false
	}
	if p.rest == "" {
		return t, "", true
	}
	if !p.skip("T") && !p.skip("t") {
		blank := strings.TrimLeft(p.rest, " \t")
		if len(blank) == len(p.rest) {
			return t, "", false
		}
		p.rest = blank
	}
	t.clock = true
	t.time[0] = p.number(min(max(p.digitsAhead(), 1), 2))
	for i := range 2 {
		p.ok = p.skip(":") && p.ok
		t.time[1+i] = p.number(2)
	}
	if p.skip(".") {
		n := p.digitsAhead()
		t.fraction, p.rest = p.rest[:n], p.rest[n:]
	}
	zone := strings.TrimLeft(p.rest, " \t")
	if zone == "" && p.rest != "" || !p.ok {
		return t, "", false
	}
	if p.rest = zone; zone != "" {
		t.zone = zone[0]
		p.rest = zone[1:]
		switch t.zone {
		case 'Z':
		case '+', '-':
			t.offset = 60 * p.number(min(max(p.digitsAhead(), 1), 2))
			if p.skip(":") {
				t.offset += p.number(2)
			}
		default:
			return t, "", false
		}
	}
	return t, p.rest, p.ok && p.rest == ""
}

// yamlTimestamp returns the type and text of a typed object of kombu.
func yamlTimestamp(s string) (typ, text string, ok bool) {
	t, _, ok := splitTimestamp(s)
	year, month, day := t.date[0], time.Month(t.date[1]), t.date[2]
	date := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	if !ok || year < 1 || date.Month() != month || date.Day() != day {
		return "", "", false
	}
	if !t.clock {
		return "date", date.Format("2006-01-02"), true
	}
	if t.time[0] > 23 || t.time[1] > 59 || t.time[2] > 59 || t.offset >= 24*60 {
		return "", "", false
	}
	micros, _ := strconv.Atoi((t.fraction + "000000")[:6])
	if t.zone == '-' {
		t.offset = -t.offset
	}
	at := time.Date(year, month, day, t.time[0], t.time[1], t.time[2], micros*1000, time.FixedZone("", t.offset*60))
	form := "2006-01-02T15:04:05"
	if micros != 0 {
		form += ".000000"
	}
	if t.zone != 0 {
		form += "-07:00"
	}
	return "datetime", at.Format(form), true
}
