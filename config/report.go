package config

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
)

// Setting is one variable with the value in force, for people. Secrets are
// masked.
type Setting struct {
	Variable    string `json:"variable"`
	Group       string `json:"-"`
	Type        string `json:"-"`
	Value       string `json:"value"`
	Source      string `json:"source"` // "default", "env", the name of a [Source] or of another variable
	Default     string `json:"default"`
	Description string `json:"-"`

	literal bool // Default can be written as it is
}

// Report returns all variables in the order of their table. It is nil for a
// Config that [Load] did not make.
func (c Config) Report() []Setting {
	if c.variables == nil {
		return nil
	}
	return c.variables.report()
}

func (v *variables) report() []Setting {
	var all []Setting
	for _, f := range v.fields() {
		s := f.base()
		def := s.def
		if def == "" && s.unset != "" {
			def = s.unset
		}
		value, source := s.text, s.source
		switch {
		case s.shownSource != "":
			value, source = s.shown, s.shownSource
		case value == "":
			value = def
		}
		all = append(all, Setting{
			Variable: s.name, Group: s.group, Type: f.kind(), Value: printable(value),
			Source: source, Default: def, Description: s.desc,
			literal: s.def != "",
		})
	}
	return all
}

// printable takes out what would steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// Table returns all variables with their defaults, without reading anything.
func Table() []Setting {
	var v variables
	all := v.report()
	for i := range all {
		all[i].Value, all[i].Source = "", ""
	}
	return all
}

// Markdown returns the table of all variables for the README.
func Markdown() string {
	var b strings.Builder
	group := ""
	for _, s := range Table() {
		if s.Group != group {
			if group != "" {
				b.WriteString("\n")
			}
			group = s.Group
			b.WriteString("**" + group + "**\n\n| variable | type | default | meaning |\n|---|---|---|---|\n")
		}
		def := s.Default
		switch {
		case s.literal:
			def = "`" + def + "`"
		case def == "":
			def = "–"
		}
		b.WriteString("| `" + s.Variable + "` | " + s.Type + " | " + def + " | " + cell(s.Description) + " |\n")
	}
	return b.String()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// Fingerprint describes the value of a variable without the value.
type Fingerprint struct {
	Variable string
	Source   string // as in [Setting]
	Digest   string // the same for the same value and key; "" where nothing is set

	Secret bool // the value is a secret, or a URL with one in it
}

// revealer is a field whose text in reports differs from its value.
type revealer interface{ reveal() string }

func (s *secret) reveal() string    { return s.value.Reveal() }
func (s *secretURL) reveal() string { return s.value.Reveal() }
func (u *tokenURL) reveal() string  { return u.value.Reveal() }

func (l *ledgerURL) reveal() string {
	if l.value.IsSet() {
		return l.value.Reveal()
	}
	return l.text
}

func (r *relayURLs) reveal() string {
	text := r.text
	for _, u := range r.value {
		if u.Password != "" {
			text += "\x00" + u.Password
		}
	}
	return text
}

func (b *namedURLs) reveal() string {
	text := b.text
	for _, one := range b.value {
		text += "\x00" + one.raw
	}
	return text
}

// Fingerprints returns a fingerprint of each variable, in the order of [Config.Report]. key
// keys the digests, so that values cannot be guessed without it. Those of secrets are made like
// [SecretInUse.Mark].
func (c Config) Fingerprints(key []byte) (all []Fingerprint) {
	if c.variables == nil {
		return nil
	}
	reports := c.variables.report()
	for i, f := range c.variables.fields() {
		value := reports[i].Value
		print := Fingerprint{Variable: reports[i].Variable, Source: reports[i].Source}
		if r, ok := f.(revealer); ok && f.base().text != "" {
			value = r.reveal()
			print.Secret = value != f.base().text
		}
		if _, ok := f.(*secret); ok && f.base().shownSource != "" {
			// It is a part of another variable, which tells it.
			print.Secret, value = value != "", ""
		}
		switch {
		case value == "":
		case print.Secret:
			print.Digest = mark(key, print.Variable, value)
		default:
			print.Digest = digest(key, print.Variable, value)
		}
		all = append(all, print)
	}
	return all
}

// Mark returns a hash of the value that others may have together with the key, such as the one that
// all workers share. It takes some milliseconds, and is so short that many values have the same
// one: it tells values apart, and helps little to guess even a short one.
func (s SecretInUse) Mark(key []byte) string { return mark(key, s.Variable, s.Value.Reveal()) }

func mark(key []byte, variable, value string) string {
	const rounds, octets = 10_000, 3
	sum, err := pbkdf2.Key(sha256.New, value, slices.Concat([]byte(variable+"\x00"), key), rounds, octets)
	if err != nil { // with a policy of the system that forbids it
		return ""
	}
	return hex.EncodeToString(sum)
}

// Digest returns a short hash of the value for a key that does not leave the process.
func (s SecretInUse) Digest(key []byte) string { return digest(key, s.Variable, s.Value.Reveal()) }

// digest returns a short hash of a value. It tells values apart, and is too short to prove one.
func digest(key []byte, variable, value string) string {
	const octets = 5
	h := hmac.New(sha256.New, key)
	h.Write([]byte(variable + "\x00" + value))
	return hex.EncodeToString(h.Sum(nil)[:octets])
}
