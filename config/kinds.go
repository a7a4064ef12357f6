package config

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"time"
)

// text is any text.
type text struct{ setting }

func (t *text) Decode(value string) error {
	if t.take(value) && isStray(t.text) {
		t.remark("begins or ends with a quote or a bracket, which is kept")
	}
	return nil
}

func (t *text) kind() string { return "text" }

// words is a text that people read, in which a # may be meant.
type words struct{ setting }

func (w *words) Decode(value string) error { w.takeAs(value, phrase); return nil }
func (w *words) kind() string              { return "text" }

// secret is a text that is never shown.
type secret struct {
	setting
	value Secret
}

// rightKey tells how to write a key that all workers share.
const rightKey = "write at least 16 characters, such as those of openssl rand -hex 32, the same for all workers"

// keys reads a key, or two with a comma between them while one is replaced. right tells how to
// write one.
func (s *secret) keys(right string) (keys []Secret) {
	const fewest, most = 16, 2 // octets of a key, and keys
	for key := range strings.SplitSeq(s.value.Reveal(), ",") {
		key = strings.TrimSpace(key)
		if len(key) < fewest {
			s.mistake("a key has less than 16 characters", right)
		}
		keys = append(keys, NewSecret(key))
	}
	if len(keys) > most {
		s.mistake("it has more than two keys", "write one, or new,old while it is replaced; a key has no comma in it")
	}
	return keys
}

// Decode keeps the text as it is: a password may begin or end with a space. A
// line break at its end is no part of it but of the file that it was made from,
// as by echo for a Kubernetes secret, and would only ever fail the login. So are
// quotes around the whole.
func (s *secret) Decode(value string) error {
	s.value, s.wrong, s.right = Secret{}, "", ""
	kept, notes := cleanSecret(value)
	if strings.TrimSpace(kept) != "" {
		s.value = NewSecret(kept)
	}
	if strings.ContainsAny(kept, "\r\n\x00") {
		s.mistake("it has more than one line", "write it in one line")
	}
	s.text, s.note = s.value.String(), strings.Join(notes, "; ")
	return nil
}

func (s *secret) kind() string { return "secret" }

// count is a whole number.
type count struct {
	setting
	value int
}

func (c *count) Decode(value string) error {
	c.value = 0
	if !c.take(value) {
		return nil
	}
	lowest, _ := strconv.Atoi(c.min)
	highest, _ := strconv.Atoi(c.max)
	right := fmt.Sprintf("write a whole number from %s to %s", c.min, c.max)
	n, err := strconv.Atoi(c.text)
	switch {
	case err != nil && strings.HasPrefix(c.text, "tcp://"):
		// Kubernetes gives every container <SERVICE>_PORT=tcp://address:port.
		c.refuse(likeNumber, "a port but what Kubernetes sets for a service of that name",
			"set "+c.name+" to the number, or enableServiceLinks: false for the pod")
	case err != nil:
		c.refuse(likeNumber, "a whole number", right)
	case n < lowest || n > highest:
		c.mistake(c.text+" is out of range", right)
	default:
		c.value = n
	}
	return nil
}

func (c *count) kind() string { return "whole number" }

// seconds is a time: a number of seconds as Celery has it, or with a unit as Go
// writes it.
type seconds struct {
	setting
	value time.Duration
}

func (s *seconds) Decode(value string) error {
	s.value = 0
	if !s.take(value) {
		return nil
	}
	lowest, _ := strconv.ParseFloat(s.min, 64)
	highest, _ := strconv.ParseFloat(s.max, 64)
	right := fmt.Sprintf("write seconds from %s to %s such as 90 or 1.5, or a time with a unit such as 90s, 5m or 2h", s.min, s.max)
	n, err := strconv.ParseFloat(s.text, 64)
	if err != nil {
		var d time.Duration
		d, err = time.ParseDuration(s.text)
		n = d.Seconds()
	}
	switch {
	case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
		s.refuse(likeNumber, "a time", right)
	case n < lowest || n > highest:
		s.mistake(s.text+" is out of range", right)
	default:
		s.value = time.Duration(math.Round(n * float64(time.Second)))
	}
	return nil
}

func (s *seconds) kind() string { return "seconds" }

// size is a number of bytes.
type size struct {
	setting
	value int
}

func (s *size) Decode(value string) error {
	s.value = 0
	if !s.take(value) {
		return nil
	}
	lowest, _ := strconv.Atoi(s.min)
	highest, _ := strconv.Atoi(s.max)
	digits, factor := s.text, 1
	for unit, bytes := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(s.text, unit); ok {
			digits, factor = strings.TrimSpace(rest), bytes
		}
	}
	right := fmt.Sprintf("write bytes from %s to %s such as 1048576, 512KiB or 1MiB", s.min, s.max)
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil:
		s.refuse(likeNumber, "a size", right)
	case n < 0 || n > highest/factor || n*factor < lowest:
		s.mistake(s.text+" is out of range", right)
	default:
		s.value = n * factor
	}
	return nil
}

func (s *size) kind() string { return "bytes" }

// toggle is true or false.
type toggle struct {
	setting
	value bool
}

func (t *toggle) Decode(value string) error {
	t.value = false
	if !t.take(value) {
		return nil
	}
	switch strings.ToLower(t.text) {
	case "true", "1", "yes", "on":
		t.value = true
	case "false", "0", "no", "off":
	default:
		t.refuse(likeWord, "true or false", "write true or false")
	}
	return nil
}

func (t *toggle) kind() string { return "true or false" }

// presence is on for any text but four words: the contract of REDIS_USE_TLS.
type presence struct {
	setting
	value bool
}

func (p *presence) Decode(value string) error {
	p.value = false
	if p.take(value) {
		switch strings.ToLower(p.text) {
		case "false", "0", "no", "off":
		case "true", "1", "yes", "on":
			p.value = true
		default:
			p.value = true
			p.remark(p.quoted(likeWord) + " turns it on, as any text but false, 0, no and off does")
		}
	}
	return nil
}

func (p *presence) kind() string { return "true or false" }

// choice is one of a few words.
type choice struct{ setting }

func (c *choice) Decode(value string) error {
	if !c.take(value) {
		return nil
	}
	c.text = strings.ToLower(c.text)
	if c.name == "LOG_LEVEL" { // Python's names of the levels
		switch c.text {
		case "warning":
			c.text = "warn"
		case "critical":
			c.text = "error"
		}
	}
	for option := range strings.SplitSeq(c.options, ",") {
		if c.text == option {
			return nil
		}
	}
	c.refuse(likeWord, "allowed", "write "+oneOf(c.options))
	return nil
}

func (c *choice) kind() string { return oneOf(c.options) }

// oneOf turns "a,b,c" into "a, b or c".
func oneOf(options string) string {
	words := strings.Split(options, ",")
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// list is a comma-separated list of names.
type list struct {
	setting
	value []string
}

func (l *list) Decode(value string) error {
	l.value = nil
	if !l.take(value) {
		return nil
	}
	seen := make(map[string]bool)
	items, note := splitList(l.text)
	l.remark(note)
	for _, item := range items {
		switch {
		case isStray(item):
			l.mistake("a name in it has a quote or a bracket at one end", "write names without quotes, with commas between them")
		case item == "":
			l.refuse(likeHost, "a list: there is nothing between two commas", "write names with commas between them")
		case strings.ContainsAny(item, " \t\x06\x16"):
			l.refuse(likeHost, "a list of names", "write names without spaces, with commas between them")
		case seen[item]:
			l.mistake(fmt.Sprintf("%q is there twice", item), "name each once")
		}
		seen[item] = true
		l.value = append(l.value, item)
	}
	return nil
}

func (l *list) kind() string { return "list" }

// steps are Celery's priority steps.
type steps struct {
	setting
	value []int
}

func (s *steps) Decode(value string) error {
	s.value = nil
	if !s.take(value) {
		return nil
	}
	items, note := splitList(s.text)
	s.remark(note)
	for _, item := range items {
		n, err := strconv.Atoi(item)
		last := len(s.value) - 1
		if err != nil || n < 0 || n > 9 || last < 0 && n != 0 || last >= 0 && n <= s.value[last] {
			s.refuse(likeNumber, "a list of priority steps", "write rising numbers from 0 to 9 with commas between them, 0 first, such as 0,3,6,9")
			return nil
		}
		s.value = append(s.value, n)
	}
	return nil
}

func (s *steps) kind() string { return "list of numbers" }

// scale is Celery's --autoscale=max,min.
type scale struct {
	setting
	most, fewest int
}

func (s *scale) Decode(value string) error {
	s.most, s.fewest = 0, 0
	if !s.take(value) {
		return nil
	}
	items, note := splitList(s.text)
	s.remark(note)
	most, err1 := strconv.Atoi(items[0])
	fewest, err2 := 0, error(nil) // Celery: one number is the maximum
	if len(items) > 1 {
		fewest, err2 = strconv.Atoi(items[1])
	}
	if len(items) > 2 || err1 != nil || err2 != nil || most < 1 || most > 10000 || fewest < 0 || fewest > most {
		s.refuse(likeNumber, "a range of concurrency", "write the most and the fewest tasks at once, such as 10,3")
		return nil
	}
	s.most, s.fewest = most, fewest
	return nil
}

func (s *scale) kind() string { return "max,min" }

// address is one bare mail address.
type address struct{ setting }

func (a *address) Decode(value string) error {
	if !a.take(value) {
		return nil
	}
	parsed, err := mail.ParseAddress(a.text)
	if err != nil || parsed.Address != a.text {
		a.refuse(likeMail, "a mail address", "write an address alone, such as noreply@example.com")
	}
	return nil
}

func (a *address) kind() string { return "mail address" }

// listen is a local address, or off.
type listen struct{ setting }

func (l *listen) Decode(value string) error {
	if !l.take(value) {
		return nil
	}
	if strings.EqualFold(l.text, "off") {
		l.text = "off"
		return nil
	}
	host, port, err := net.SplitHostPort(l.text)
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || n > 65535 || strings.ContainsAny(host, "/ ") {
		_, usual, _ := net.SplitHostPort(l.def)
		usual = cmp.Or(usual, "8004")
		l.refuse(likeListener, "an address to listen on", "write host:port such as 127.0.0.1:"+usual+", :"+usual+" for all addresses of the host, or off")
	}
	return nil
}

func (l *listen) kind() string { return "host:port or off" }

// value is the address, "" for off.
func (l *listen) value() string {
	if l.text == "off" {
		return ""
	}
	return l.text
}

// file is the path of a file. Load reads it where it is used.
type file struct{ setting }

func (f *file) Decode(value string) error { f.take(value); return nil }
func (f *file) kind() string              { return "file" }
