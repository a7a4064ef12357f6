package config

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// helpWidth is that of a terminal of 80 columns, less the margin that the command
// line gives its help.
const helpWidth = 78

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
		kind := s.Type
		if s.Default != "" {
			kind += "; default: " + s.Default
		}
		if head := fmt.Sprintf("  %s  (%s)\n", s.Variable, kind); len(head) <= helpWidth+1 {
			b.WriteString(head)
		} else {
			fmt.Fprintf(&b, "  %s\n", s.Variable)
			for _, line := range wrap("("+kind+")", helpWidth-6) {
				fmt.Fprintf(&b, "      %s\n", line)
			}
		}
		for _, line := range wrap(s.Description, helpWidth-6) {
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
