package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/summary"
)

// columns of a table: the first one takes what the others leave.
func (c *screen) table(head []string, rows [][]string, tones map[int]string) (lines []string) {
	widths := term.Widths(append([][]string{head}, rows...))
	rest := 0
	for _, w := range widths[1:] {
		rest += w + 2
	}
	widths[0] = max(min(widths[0], c.width-rest), 12)
	write := func(row []string, colour string) {
		l := c.line()
		for i, cell := range row {
			cell = term.Cut(cell, widths[i])
			pad := strings.Repeat(" ", widths[i]-term.Cells(cell))
			if i == 0 {
				l.add(colour, cell+pad)
			} else {
				l.add(colour, "  "+pad+cell)
			}
		}
		lines = append(lines, strings.TrimRight(l.String(), " "))
	}
	write(head, dim)
	for i, row := range rows {
		write(row, tones[i])
	}
	return lines
}

func (c *screen) queues(s *summary.Summary) []string {
	if s.Queues.Fault != "" || !s.Queues.Known {
		return []string{c.line().add(red, "Queues are not known: "+term.Line(cmp.Or(s.Queues.Fault, "no answer yet"))).String()}
	}
	all := slices.Clone(s.Queues.All)
	if c.sort == byTrouble {
		sorting.Stable(all, func(a, b summary.Queue) int { return cmp.Compare(b.Messages, a.Messages) })
	} else {
		sorting.Stable(all, func(a, b summary.Queue) int { return strings.Compare(a.Name, b.Name) })
	}
	var rows [][]string
	tones := map[int]string{}
	for i, q := range all {
		oldest, empty, state := "", "", ""
		if q.Oldest.Known {
			oldest = spell(q.Oldest.Seconds)
			if q.Oldest.AtLeast {
				oldest = ">" + oldest
			}
		}
		if q.Empty > 0 {
			empty = spell(q.Empty)
		}
		switch {
		case q.Broken:
			state, tones[i] = "broken", red
		case q.Paused:
			state, tones[i] = "paused", yellow
		case q.Oldest.Duration() > 30*time.Second:
			tones[i] = yellow
		}
		rows = append(rows, []string{term.Line(q.Name), fmt.Sprint(q.Messages), oldest, perSecond(q.In), perSecond(q.Out), empty, state})
	}
	unacked := "WAITING"
	return c.table([]string{fmt.Sprintf("QUEUE (%d, %s unacked)", len(all), unackedText(s.Queues.Unacked)), unacked, "OLDEST", "IN", "OUT", "EMPTY IN", ""}, rows, tones)
}

func unackedText(n int) string {
	if n < 0 {
		return "?"
	}
	return fmt.Sprint(n)
}

func (c *screen) workers(s *summary.Summary) []string {
	if len(s.Workers) == 0 && s.Queues.Fault != "" {
		return []string{c.line().add(red, "Workers are not known.").String()}
	}
	all := slices.Clone(s.Workers)
	if c.sort == byTrouble {
		sorting.Stable(all, func(a, b summary.Worker) int { return cmp.Compare(b.Active, a.Active) })
	}
	var rows [][]string
	tones := map[int]string{}
	for i, w := range all {
		active := fmt.Sprint(w.Active)
		if w.Concurrency > 0 {
			active = fmt.Sprintf("%d/%d", w.Active, w.Concurrency)
		}
		state := w.Status
		if state == "" {
			state = "online"
		}
		if w.Trouble != "" {
			state += ": " + w.Trouble
		}
		switch w.Status {
		case "degraded":
			tones[i] = yellow
		case summary.NotKnown:
			tones[i], active = yellow, "–"
		case "unhealthy":
			tones[i] = red
		}
		version, _, _ := strings.Cut(w.Version, " (")
		if !w.Python && w.Process != "" {
			version = "go " + version
		}
		rows = append(rows, []string{term.Line(w.Node), active, fmt.Sprint(w.Processed), term.Cut(term.Line(version), 22), term.Cut(term.Line(state), 24)})
	}
	return c.table([]string{fmt.Sprintf("WORKER (%d)", len(all)), "ACTIVE", "TASKS", "VERSION", "STATE"}, rows, tones)
}
