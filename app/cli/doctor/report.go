package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/worker/redis"
)

// States of a finding.
const (
	ok       = "ok"
	off      = "off"
	degraded = "degraded" // it works, but not as it should
	failed   = "failed"   // no mails go out, or they go out wrong
)

// finding is what is known of one thing that was examined.
type finding struct {
	Check  string             `json:"check"`            // such as "redis"
	Name   string             `json:"name,omitempty"`   // of a broker
	Target string             `json:"target,omitempty"` // where it is, without logins
	Status string             `json:"status"`
	Text   string             `json:"text"`            // what was found, and what to do
	Notes  []string           `json:"notes,omitempty"` // more that is to be done
	Redis  *redis.Examination `json:"redis,omitempty"`
}

// report is what the command prints.
type report struct {
	Status string    `json:"status"` // the worst one
	Checks []finding `json:"checks"`
}

func newReport(findings []finding) report {
	r := report{Status: ok, Checks: findings}
	order := []string{ok, degraded, failed}
	for _, f := range findings {
		if slices.Index(order, f.Status) > slices.Index(order, r.Status) {
			r.Status = f.Status
		}
	}
	return r
}

// Widths of the columns.
const (
	checkWidth  = 11
	statusWidth = 10
)

// print writes a paragraph for each finding.
func (r report) print(w io.Writer, columns int) error {
	indent := strings.Repeat(" ", checkWidth+statusWidth)
	colours := map[string]string{degraded: term.Yellow, failed: term.Red}
	for _, f := range r.Checks {
		text := f.Text
		if f.Target != "" {
			text = f.Target + ": " + text
		}
		if f.Name != "" {
			text = f.Name + ", " + text
		}
		for i, line := range append([]string{text}, f.Notes...) {
			head := indent
			if i == 0 {
				head = fmt.Sprintf("%-*s", checkWidth, f.Check) + term.Paint(w, colours[f.Status], f.Status) + strings.Repeat(" ", statusWidth-len(f.Status))
			}
			// The head has colours, which take no room.
			body := strings.TrimLeft(term.Fold(indent+term.Line(line), columns, indent), " ")
			if _, err := fmt.Fprintln(w, head+body); err != nil {
				return err
			}
		}
	}
	return nil
}
