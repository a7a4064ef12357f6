// Package term reads and writes for people and for machines: it is what the commands share.
package term

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/evently/workers/app"
)

// Terminal holds the files that a command reads and writes.
type Terminal struct {
	In       *os.File
	Out, Err *os.File
}

// Interactive reports whether a person can be asked.
func (t Terminal) Interactive() bool {
	return term.IsTerminal(int(t.In.Fd())) && term.IsTerminal(int(t.Err.Fd()))
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Colours of [Paint].
const (
	Red    = "31"
	Yellow = "33"
)

// Warn prints a line that begins with a coloured "warning:". format is that of fmt.
func Warn(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "%s %s\n", Paint(w, Yellow, "warning:"), fmt.Sprintf(format, args...))
}

// Paint colours text on a terminal, unless NO_COLOR (no-color.org) or a dumb
// terminal forbids it.
func Paint(w io.Writer, colour, text string) string {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// PrintJSON writes a value as indented JSON.
func PrintJSON(f *os.File, v any) error {
	e := json.NewEncoder(f)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Confirm asks a question. doing says what it is about where there is no terminal.
func (t Terminal) Confirm(question, doing string) error {
	if !t.Interactive() {
		return &app.UsageError{Err: fmt.Errorf("%s: there is no terminal to ask on; say --yes", doing)}
	}
	fmt.Fprintf(t.Err, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(t.In).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}

// WideTerminal is the width from which whole ids are listed.
const WideTerminal = 120

// Columns returns the width of a terminal, 0 where there is none. COLUMNS overrides the
// width that the terminal reports.
func Columns(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return width
}

// defaultWidth is the width of outputs of paragraphs where there is no terminal.
const defaultWidth = 80

// ParagraphWidth returns the width of paragraphs: that of the terminal, up to 100.
func ParagraphWidth(t Terminal) int {
	if w := Columns(t.Out); w > 0 {
		return min(max(w, 40), 100)
	}
	return defaultWidth
}
