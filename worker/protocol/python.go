package protocol

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/evently/workers/worker/protocol/internal/isotime"
)

var null = []byte("null")

const hexDigits = "0123456789abcdef"

// AppendString appends a string as json.dumps writes it. Bytes that are not UTF-8
// become U+FFFD.
func AppendString(dst []byte, s string) []byte { return appendQuoted(dst, s) }

// AppendFloat appends a number as json.dumps writes it.
func AppendFloat(dst []byte, f float64) []byte { return appendFloat(dst, f, 64) }

// appendQuoted writes a string as json.dumps does, in ASCII. Bytes that are not UTF-8
// become U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	return append(appendText(append(dst, '"'), s), '"')
}

// appendText does what appendQuoted does, without the quotes.
func appendText(dst []byte, s string) []byte {
	for {
		n := untouched(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return dst
		}
		r, size := utf8.DecodeRuneInString(s[n:]) // U+FFFD for broken bytes
		s = s[n+size:]
		switch r {
		case '"', '\\':
			dst = append(dst, '\\', byte(r))
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\b':
			dst = append(dst, '\\', 'b')
		default:
			dst = appendEscaped(dst, r)
		}
	}
}

// untouched returns the number of bytes at the start of s that json.dumps writes as they
// are.
func untouched[S ~string | ~[]byte](s S) (n int) {
	for n < len(s) && ' ' <= s[n] && s[n] <= '~' && s[n] != '"' && s[n] != '\\' {
		n++
	}
	return n
}

func appendEscaped(dst []byte, r rune) []byte {
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return appendEscaped(appendEscaped(dst, high), low)
	}
	return append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// appendRaw appends a JSON value with the separators of json.dumps. Numbers and strings
// stay as they are, except that characters outside ASCII are escaped.
func appendRaw(dst []byte, r Raw) ([]byte, error) {
	if bytes.Equal(r, null) || len(r) > 1 && r[0] == '"' && untouched(r[1:]) == len(r)-2 && r[len(r)-1] == '"' {
		return append(dst, r...), nil // as most are
	}
	if _, err := r.kind(); err != nil {
		return dst, err
	}
	for i := 0; i < len(r); {
		switch c := r[i]; {
		case c == '"':
			dst = append(dst, c)
			for i++; r[i] != '"'; {
				if n := untouched(r[i:]); n > 0 {
					dst = append(dst, r[i:i+n]...)
					i += n
					continue
				}
				switch c := r[i]; {
				case c == '\\':
					dst = append(dst, c, r[i+1])
					i += 2
				default: // there are no control characters
					char, size := utf8.DecodeRune(r[i:])
					dst = appendEscaped(dst, char)
					i += size
				}
			}
			dst = append(dst, '"')
		case c == ',' || c == ':':
			dst = append(dst, c, ' ')
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			dst = append(dst, c)
		}
		i++
	}
	return dst, nil
}

// appendFloat writes a number as Python's repr does: the shortest text that reads back
// the same, with a point or an exponent.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, bits)
	for _, c := range dst[start:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

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

// ParseTime reads a time of ISO 8601 as dateutil.parser.isoparse does, which Celery uses.
// It reads the basic and the extended form, calendar, ordinal and week dates, T or a
// space before the time, a fraction after a point or a comma, and Z or an offset. Parts
// may be absent from the end on, but a time of day needs a whole date. Without an offset
// the time is UTC; otherwise the offset is kept as the location.
//
// Digits beyond nanoseconds are cut off. The error never holds the text.
func ParseTime(s string) (time.Time, error) {
	if t, ok := isotime.Parse(s); ok {
		return t, nil
	}
	return time.Time{}, errTime
}
