package harness

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Outcome is what one run of a row has given.
type Outcome struct {
	Figures string
	Faults  []string
	Took    time.Duration
}

// Passed reports whether the mark was reached.
func (o *Outcome) Passed() bool { return len(o.Faults) == 0 }

// cell is the outcome as the table has it; a nil one is unavailable.
func (o *Outcome) cell() string {
	switch {
	case o == nil:
		return "–"
	case o.Passed():
		return o.Figures
	case o.Figures == "":
		return "**fails**: " + firstLine(o.Faults[0])
	default:
		return "**fails**: " + o.Figures
	}
}

// Line is one line of the table.
type Line struct {
	Row          Row
	Ours, Celery *Outcome
}

// Table is what one call of the program has measured.
type Table struct {
	Seed   uint64
	Long   bool
	Celery string // versions
	Redis  string
	Date   time.Time
	Lines  []Line
}

// Faults counts the lines that ours did not pass.
func (t *Table) Faults() int {
	n := 0
	for _, l := range t.Lines {
		if l.Ours != nil && !l.Ours.Passed() {
			n++
		}
	}
	return n
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Write prints the table as Markdown.
func (t *Table) Write(w io.Writer) {
	fmt.Fprint(w, t.head())
	for _, l := range t.Lines {
		fmt.Fprint(w, t.line(l))
	}
}

func (t *Table) head() string {
	form := "short"
	if t.Long {
		form = "long"
	}
	return fmt.Sprintf("Measured on %s in the %s form, with %s. Celery is %s.\n\n"+
		"| goal | what is done | mark | ours | Celery | ours passes | seed |\n|---|---|---|---|---|---|---|\n",
		t.Date.Format("2006-01-02"), form, t.Redis, strings.TrimPrefix(t.Celery, "Celery "))
}

func (t *Table) line(l Line) string {
	verdict := "yes"
	if l.Ours == nil {
		verdict = "–"
	} else if !l.Ours.Passed() {
		verdict = "**no**"
	}
	escape := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", " ") }
	return fmt.Sprintf("%s%s | %s | %s | %s | %s | %d |\n", lineOf(l.Row.ID), escape(l.Row.Goal), escape(l.Row.Mark),
		escape(l.Ours.cell()), escape(l.Celery.cell()), verdict, t.Seed)
}

// lineOf is how the line of a row begins.
func lineOf(id string) string { return "| " + id + " | " }

// The generated part of the document lies between these.
const (
	begin = "<!-- torture:begin -->"
	end   = "<!-- torture:end -->"
)

// Replace puts the table into the document at path, between its markers. Lines of
// rows that are not among those of the table stay, with the seeds of their runs.
func (t *Table) Replace(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, okEnd := strings.Cut(rest, end)
	if !ok || !okEnd {
		return fmt.Errorf("%s has no %s and %s", path, begin, end)
	}
	fresh := map[string]string{}
	for _, l := range t.Lines {
		fresh[lineOf(l.Row.ID)] = t.line(l)
	}
	table := t.head()
	_, lines, _ := strings.Cut(old, "|---|---|---|---|---|---|---|\n")
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		id, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if again, ok := fresh[lineOf(id)]; ok {
			line = again
			delete(fresh, lineOf(id))
		}
		table += strings.TrimRight(line, "\n") + "\n"
	}
	for _, l := range t.Lines {
		table += fresh[lineOf(l.Row.ID)]
	}
	return os.WriteFile(path, []byte(head+begin+"\n\n"+table+"\n"+end+tail), 0o644)
}
