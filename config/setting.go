package config

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/connurl"
)

// setting is what the variables of all kinds share.
type setting struct {
	name, group, desc string
	def               string // default as it would be written
	unset             string // what a variable without default means when it is not set
	options           string // allowed words, comma-separated
	min, max          string // allowed range

	text         string // as given, without surrounding space
	source       string
	raw          Secret // as the source has it; not set for the environment and defaults
	file         string // path of the file that it was read from
	shown        string // what is in force, where it is not text
	shownSource  string // and where that comes from
	wrong, right string // the mistake, if there is one
	note         string // what was done to the value, for a warning
}

func (s *setting) base() *setting { return s }

// take keeps the text of a value and reports whether there is something to
// parse.
func (s *setting) take(value string) bool { return s.takeAs(value, plain) }

func (s *setting) takeAs(value string, m manner) bool {
	text, notes := clean(value, m)
	s.text, s.note = text, readAs(notes, text)
	s.wrong, s.right = "", ""
	if strings.ContainsAny(s.text, "\r\n\x00") {
		s.mistake("it has more than one line", "write it in one line")
		return false
	}
	return s.text != ""
}

// remark adds to the note.
func (s *setting) remark(text string) {
	if s.note != "" && text != "" {
		text = s.note + "; " + text
	}
	s.note = cmp.Or(text, s.note)
}

func (s *setting) mistake(wrong, right string) {
	if s.wrong == "" {
		s.wrong, s.right = wrong, right
	}
}

// fault is mistake for what [connurl] has found.
func (s *setting) fault(err error) {
	if f, ok := errors.AsType[*connurl.Fault](err); ok {
		s.mistake(f.Wrong, f.Right)
	} else {
		s.mistake("it cannot be used", "")
	}
}

// refuse says that the text is not what the kind wants. like tells whether the
// text was meant to be of that kind, so that it may be repeated.
func (s *setting) refuse(like func(string) bool, what, right string) {
	s.mistake(fmt.Sprintf("%s is not %s", s.quoted(like), what), right)
}

// inForce sets what the report shows instead of the text.
func (s *setting) inForce(value, source string) { s.shown, s.shownSource = value, source }

// derived notes a value that comes from elsewhere, unless one was given.
func (s *setting) derived(value, source string) {
	if !s.given() && value != "" {
		s.inForce(value, source)
	}
}

// blame returns the variable that a mistake is reported with: a value that is in a file is not
// where the variable is.
func (s *setting) blame() string {
	if s.file != "" {
		return s.name + fileSuffix
	}
	return s.name
}

// given reports whether the variable was set.
func (s *setting) given() bool { return s.source != "" && s.source != SourceDefault }

// quoted is the text for an error. People paste URLs with passwords, or the
// password itself, into the wrong variable: what is not even nearly of the kind
// that is wanted here is not repeated.
func (s *setting) quoted(like func(string) bool) string {
	const most = 60
	switch {
	case strings.Contains(s.text, "://"):
		return strconv.Quote(connurl.Redact(s.text))
	case !like(s.text):
		return "the value"
	case len(s.text) > most:
		return strconv.Quote(s.text[:most] + "…")
	}
	return strconv.Quote(s.text)
}

// Forms of texts that errors may repeat.

// likeNumber: a number, or several, and perhaps a unit.
func likeNumber(text string) bool {
	const unit = 3 // "min", "KiB"
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	return number != "" && len(text)-len(number) <= unit && consists(number, "0123456789+-., ")
}

// likeWord: one of a few words, misspelt.
func likeWord(text string) bool {
	const most = 20
	return len(text) <= most && consists(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz-_")
}

// likeHost: a name with a domain, an address, or one with a port, or several.
func likeHost(text string) bool {
	return strings.ContainsAny(text, ".:,") && consists(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789.-_:[], ")
}

// likeListener: as likeHost, or the port alone.
func likeListener(text string) bool { return likeHost(text) || likeNumber(text) }

// likeMail: something at something.
func likeMail(text string) bool { return strings.Contains(strings.Trim(text, "@"), "@") }

// likeURL: nothing else; those are dealt with.
func likeURL(string) bool { return false }

func consists(text, of string) bool { return strings.Trim(text, of) == "" }
