package term

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"

	"github.com/evently/workers/internal/words"
)

// Count writes a number of things.
func Count(n int64, thing string) string { return words.Count(n, thing) }

// Align writes rows with aligned columns.
func Align(rows [][]string) string {
	widths := Widths(rows)
	var b strings.Builder
	for _, row := range rows {
		var text strings.Builder
		for i, cell := range row {
			text.WriteString(cell)
			text.WriteString(strings.Repeat(" ", widths[i]-Cells(cell)+2))
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	return b.String()
}

// Widths returns the width of each column.
func Widths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], Cells(cell))
		}
	}
	return widths
}

// Cells counts the columns that a text takes on a terminal.
func Cells(text string) int {
	n := 0
	for _, r := range text {
		n += runeCells(r)
	}
	return n
}

func runeCells(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Cut shortens a text to n columns.
func Cut(text string, n int) string {
	if Cells(text) <= n {
		return text
	}
	var b strings.Builder
	used := 1 // of the ellipsis
	for _, r := range text {
		if used += runeCells(r); used > n {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

// Line makes foreign text fit for one line on a terminal.
func Line(text string) string { return words.Line(text) }

// Fold breaks text into lines of at most width columns. Every line but the first begins
// with indent, and the first with the spaces of text. A width of 0 breaks nothing.
func Fold(text string, width int, indent string) string {
	if width <= 0 || Cells(text) <= width {
		return text
	}
	words := strings.TrimLeft(text, " ")
	start := text[:len(text)-len(words)]
	var b strings.Builder
	b.WriteString(start)
	used, begins := len(start), true
	for word := range strings.SplitSeq(words, " ") {
		n := Cells(word)
		switch {
		case begins:
		case used+1+n > width:
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used, begins = used+n, false
	}
	return b.String()
}
