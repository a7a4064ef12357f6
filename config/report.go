package config

import (
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
