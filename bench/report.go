package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// figures are what one run has measured, by the names of their columns.
type figures map[string]float64

// column is a figure of a table.
type column struct {
	name    string
	compare bool // with that of the base of the line
}

// line is one contender in a table.
type line struct {
	name, base string // base is the name of another line
	runs       []figures
}

// section is one table.
type section struct {
	title, text string
	columns     []column
	lines       []*line
}

// add notes what a run has measured.
func (s *section) add(name, base string, f figures) {
	l := s.line(name)
	if l == nil {
		l = &line{name: name, base: base}
		s.lines = append(s.lines, l)
	}
	l.runs = append(l.runs, f)
}

func (s *section) line(name string) *line {
	if i := slices.IndexFunc(s.lines, func(l *line) bool { return l.name == name }); i >= 0 {
		return s.lines[i]
	}
	return nil
}

// median of a figure; ok is false when it was not measured.
func (l *line) median(name string) (m float64, ok bool) {
	var vs []float64
	for _, f := range l.runs {
		if v, there := f[name]; there {
			vs = append(vs, v)
		}
	}
	if len(vs) == 0 {
		return 0, false
	}
	slices.SortFunc(vs, cmp.Compare)
	return vs[len(vs)/2], true
}

// write prints the table as Markdown.
func (s *section) write(w io.Writer) {
	fmt.Fprintf(w, "**%s.** %s\n\n|", s.title, s.text)
	for _, c := range append([]column{{name: " "}}, s.columns...) {
		fmt.Fprintf(w, " %s |", strings.TrimSpace(c.name))
	}
	fmt.Fprintf(w, "\n|%s\n", strings.Repeat("---|", len(s.columns)+1))
	for _, l := range s.lines {
		fmt.Fprintf(w, "| %s |", l.name)
		for _, c := range s.columns {
			fmt.Fprintf(w, " %s |", s.cell(l, c))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

func (s *section) cell(l *line, c column) string {
	v, ok := l.median(c.name)
	if !ok {
		return "–"
	}
	base := s.line(l.base)
	if !c.compare || base == nil || base == l {
		return digits(v)
	}
	b, ok := base.median(c.name)
	if !ok || b <= 0 || v <= 0 {
		return digits(v)
	}
	return digits(v) + " (" + ratio(v/b) + ")"
}

// digits writes as many as tell something.
func digits(v float64) string {
	switch {
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func ratio(r float64) string {
	form := func(r float64) string {
		if r >= 10 {
			return fmt.Sprintf("%.0f", r)
		}
		return fmt.Sprintf("%.2g", r)
	}
	if r >= 0.95 {
		return form(r) + "×"
	}
	return "1/" + form(1/r)
}

// The generated part of the document lies between these.
const (
	begin = "<!-- bench:begin -->"
	end   = "<!-- bench:end -->"
)

// document puts the tables into a file, between its markers.
func document(path, tables string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ends := strings.Cut(rest, end)
	if !ok || !ends {
		return fmt.Errorf("%s has no %s and %s", path, begin, end)
	}
	return os.WriteFile(path, []byte(head+begin+"\n\n"+tables+end+tail), 0o644)
}
