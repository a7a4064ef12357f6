package yaml

import (
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/worker/protocol/internal/isotime"
)

// isTimestamp reports whether a scalar without tag is a timestamp. A date alone must have
// two digits for month and day.
func isTimestamp(s string) bool {
	t, ok := splitTimestamp(s)
	return ok && (t.clock || len(s) == len("2026-01-31"))
}

// timestamp holds the parts of a timestamp, whose ranges were not checked yet.
type timestamp struct {
	date     [3]int
	clock    bool
	time     [3]int
	fraction string
	zone     byte // 0: none, 'Z', '+' or '-'
	offset   int  // minutes
}

// splitTimestamp reads the forms of PyYAML's timestamp_regexp.
func splitTimestamp(s string) (t timestamp, ok bool) {
	p := isotime.Cutter{Rest: s, OK: true}
	t.date[0] = p.Number(4)
	for i := range 2 {
		p.OK = p.Skip("-") && p.OK
		t.date[1+i] = p.Number(min(max(p.DigitsAhead(), 1), 2))
	}
	if !p.OK {
		return t, false
	}
	if p.Rest == "" {
		return t, true
	}
	if !p.Skip("T") && !p.Skip("t") {
		blank := strings.TrimLeft(p.Rest, " \t")
		if len(blank) == len(p.Rest) {
			return t, false
		}
		p.Rest = blank
	}
	t.clock = true
	t.time[0] = p.Number(min(max(p.DigitsAhead(), 1), 2))
	for i := range 2 {
		p.OK = p.Skip(":") && p.OK
		t.time[1+i] = p.Number(2)
	}
	if p.Skip(".") {
		n := p.DigitsAhead()
		t.fraction, p.Rest = p.Rest[:n], p.Rest[n:]
	}
	zone := strings.TrimLeft(p.Rest, " \t")
	if zone == "" && p.Rest != "" || !p.OK {
		return t, false
	}
	if p.Rest = zone; zone != "" {
		t.zone = zone[0]
		p.Rest = zone[1:]
		switch t.zone {
		case 'Z':
		case '+', '-':
			t.offset = 60 * p.Number(min(max(p.DigitsAhead(), 1), 2))
			if p.Skip(":") {
				t.offset += p.Number(2)
			}
		default:
			return t, false
		}
	}
	return t, p.OK && p.Rest == ""
}

// Timestamp returns a timestamp as the type and text of a typed object of kombu.
func Timestamp(s string) (typ, text string, ok bool) {
	t, ok := splitTimestamp(s)
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
