package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
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

// mostValue is the width of the column of values where lines may have any length.
const mostValue = 40

// leastValue is the width of the column of values in the narrowest terminal.
const leastValue = 16

// Text returns a report as an aligned table: name, value, source. A value that would make a
// line longer than width goes on in further lines. With width 0 lines have any length.
func Text(report []Setting, width int) string {
	rows := [][3]string{{"VARIABLE", "VALUE", "SOURCE"}}
	for _, s := range report {
		rows = append(rows, [3]string{s.Variable, cmp.Or(s.Value, "-"), s.Source})
	}
	var columns [3]int
	for _, row := range rows {
		for i, cell := range row {
			columns[i] = max(columns[i], utf8.RuneCountInString(cell))
		}
	}
	if width > 0 {
		columns[1] = min(columns[1], max(leastValue, width-columns[0]-columns[2]-4))
	} else {
		columns[1] = min(columns[1], mostValue)
	}
	var b strings.Builder
	for _, row := range rows {
		value, rest := []rune(row[1]), []rune(nil)
		if width > 0 && len(value) > columns[1] {
			value, rest = value[:columns[1]], value[columns[1]:]
		}
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", columns[0], row[0], columns[1], string(value), row[2])
		for piece := range slices.Chunk(rest, columns[1]) {
			fmt.Fprintf(&b, "%-*s  %s\n", columns[0], "", string(piece))
		}
	}
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
