package config

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Help returns all variables for a terminal: indented lines of a name and a
// default, each followed by its description, in groups.
func Help() string {
	var b strings.Builder
	group := ""
	for _, s := range Table() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "%s:\n\n", group)
		}
		fmt.Fprintf(&b, "  %s  (%s", s.Variable, s.Type)
		if s.Default != "" {
			fmt.Fprintf(&b, "; default: %s", s.Default)
		}
		fmt.Fprintf(&b, ")\n")
		for _, line := range wrap(s.Description, 72) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Text returns a report as an aligned table: name, value, source.
func Text(report []Setting) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VARIABLE\tVALUE\tSOURCE")
	for _, s := range report {
		value := s.Value
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Variable, value, s.Source)
	}
	_ = w.Flush() // into memory
	return b.String()
}

// wrap breaks text into lines of at most width letters, where words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
