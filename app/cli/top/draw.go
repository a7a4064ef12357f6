package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/attention"
	"github.com/evently/workers/monitor/summary"
)

// screen is what a drawing needs beside the summary.
type screen struct {
	width, height int // cells; a height of 0 is without bound
	colour        bool
	paused        bool
	sort          order
	source        string // what is looked at, such as the address of Redis
	keys          bool   // the last line tells the keys
}

// order is the order of the lists.
type order int

const (
	byTrouble order = iota // most waiting, most active
	byName
	orders
)

func (o order) String() string {
	if o == byName {
		return "name"
	}
	return "load"
}

// SGR parameters of colours.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint colours a text.
func (c *screen) paint(colour, text string) string {
	if !c.colour || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// line is a line of cells in colours.
type line struct {
	c    *screen
	b    strings.Builder
	used int
}

func (c *screen) line() *line { return &line{c: c} }

// add adds a text, as far as there is room.
func (l *line) add(colour, text string) *line {
	if room := l.c.width - l.used; room > 0 {
		text = term.Cut(text, room)
		l.used += term.Cells(text)
		l.b.WriteString(l.c.paint(colour, text))
	}
	return l
}

// right adds a text at the right edge, if there is room.
func (l *line) right(colour, text string) *line {
	if gap := l.c.width - l.used - term.Cells(text); gap >= 1 {
		l.b.WriteString(strings.Repeat(" ", gap))
		l.used += gap
		l.add(colour, text)
	}
	return l
}

func (l *line) String() string { return l.b.String() }

// draw returns the lines of a screen.
func draw(s *summary.Summary, c screen) []string {
	lines := []string{c.head(s), c.rates(s), c.latency(s), c.spark(s), c.codes(s), c.lamps(s), c.trouble(s), ""}
	lines = append(lines, c.findings(s)...)
	rest := 1 << 20
	if c.height > 0 {
		rest = c.height - len(lines) - 1 // of the line of the keys
	}
	queues, workers := c.queues(s), c.workers(s)
	if len(queues)+len(workers)+1 > rest { // both get a half, and what the other leaves
		half := max(2, (rest-1)/2)
		room := max(half, rest-1-len(workers))
		queues = cutRows(queues, room)
		workers = cutRows(workers, rest-1-len(queues))
	}
	lines = append(lines, queues...)
	lines = append(lines, "")
	lines = append(lines, workers...)
	if c.height > 0 {
		for len(lines) < c.height-1 {
			lines = append(lines, "")
		}
		lines = append(lines[:max(0, c.height-1)], c.foot())
	}
	return lines
}

// cutRows shortens a table and tells how many rows are left out.
func cutRows(rows []string, room int) []string {
	if len(rows) <= room {
		return rows
	}
	if room < 2 {
		return rows[:max(0, room)]
	}
	return append(rows[:room-1:room-1], fmt.Sprintf("  … %d more", len(rows)-room+1))
}

func (c *screen) head(s *summary.Summary) string {
	l := c.line().add(bold, "evently top").add(dim, "  "+c.source)
	state, colour := "live", green
	if c.paused {
		state, colour = "paused", yellow
	}
	if !c.keys {
		state = ""
	}
	return l.right(colour, strings.TrimSpace(state+"  "+s.At.Format("15:04:05"))).String()
}

func perSecond(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f/s", v)
	case v == 0:
		return "0/s"
	}
	return fmt.Sprintf("%.1f/s", v)
}

func (c *screen) rates(s *summary.Summary) string {
	l := c.line().add(dim, "tasks     ")
	if !s.Rates.Known {
		text := "no events yet"
		if s.Queues.Fault != "" {
			text = summary.NotKnown
		}
		return l.add("", text).String()
	}
	r := s.Rates
	l.add("", "received ").add(bold, perSecond(r.Received)).add("", "  succeeded ").add(green, perSecond(r.Succeeded))
	l.add("", "  deferred ").add(toneOf(r.Retried > 0, yellow), perSecond(r.Retried))
	return l.add("", "  failed ").add(toneOf(r.Failed > 0, red), perSecond(r.Failed)).String()
}

// toneOf returns the colour if it applies.
func toneOf(applies bool, colour string) string {
	if applies {
		return colour
	}
	return ""
}

func spell(seconds float64) string { return term.Spell(time.Duration(seconds * float64(time.Second))) }

func (c *screen) latency(s *summary.Summary) string {
	l := c.line().add(dim, "run time  ")
	if !s.Latency.Known {
		return l.add("", summary.NotKnown).String()
	}
	return l.add("", fmt.Sprintf("p50 %s  p95 %s  p99 %s", spell(s.Latency.P50), spell(s.Latency.P95), spell(s.Latency.P99))).String()
}

// spark draws the tasks received in the last minutes as bars of eighths.
func (c *screen) spark(s *summary.Summary) string {
	l := c.line().add(dim, "received  ")
	counts := s.Rates.Series.Received
	if len(counts) == 0 {
		return l.String()
	}
	room := min(max(1, c.width-l.used), 120)
	counts = counts[max(0, len(counts)-room):]
	most := slices.Max(counts)
	bars := []rune(" ▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, n := range counts {
		at := 0
		if n > 0 {
			at = 1 + int(uint64(n)*uint64(len(bars)-2)/uint64(max(1, most)))
		}
		b.WriteRune(bars[min(at, len(bars)-1)])
	}
	return l.add(cyan, b.String()).String()
}

func (c *screen) codes(s *summary.Summary) string {
	l, k := c.line().add(dim, "codes     "), s.Codes
	if k.Waiting > 0 {
		l.add(toneOf(k.Waiting > attention.CodeLimit.Seconds(), red), fmt.Sprintf("%d waiting for %s", k.Number, spell(k.Waiting))).add("", "  ")
	}
	switch {
	case !k.Known:
		l.add("", "no history of mails")
	case k.Ended == 0:
		l.add("", "none in 24 h")
	default:
		colour := green
		if k.Budget < 0 {
			colour = red
		} else if k.Budget < 0.25 {
			colour = yellow
		}
		l.add(colour, attention.Percent(k.InTime, k.Ended)).add("", fmt.Sprintf(" in 10 s  p95 %s  expired %d  budget %s left", spell(k.P95), k.Expired, attention.Percent(int64(max(0, k.Budget)*1000), 1000)))
	}
	return l.String()
}

func (c *screen) lamps(s *summary.Summary) string {
	l := c.line().add(dim, "breakers  ")
	if len(s.Breakers) == 0 {
		return l.add("", summary.NotKnown).String()
	}
	for i, b := range s.Breakers {
		colour := map[string]string{"closed": green, "half-open": yellow, summary.NotKnown: yellow}[b.Phase]
		if i > 0 {
			l.add("", "  ")
		}
		l.add(cmp.Or(colour, red), "● ").add("", term.Line(b.Name)+" ").add(cmp.Or(colour, red), b.Phase)
	}
	return l.String()
}

func (c *screen) trouble(s *summary.Summary) string {
	l := c.line().add(dim, "trouble   ")
	if s.Letters.Known {
		l.add(toneOf(s.Letters.Open > 0, yellow), term.Count(int64(s.Letters.Open), "dead letter"))
		if s.Letters.Grown > 0 {
			l.add(red, fmt.Sprintf(" (+%d in 10 min)", s.Letters.Grown))
		}
		l.add("", "  ")
	} else if s.Queues.Fault != "" {
		l.add("", "dead letters "+summary.NotKnown+"  ")
	}
	for i, f := range s.Failures {
		if i == 0 {
			l.add(dim, "last hour ")
		} else {
			l.add("", ", ")
		}
		l.add("", fmt.Sprintf("%s %d", term.Line(f.Class), f.N))
	}
	return l.String()
}

// mostFindings is how many findings a screen of 24 lines shows.
const mostFindings = 4

// findings returns the lines about the findings, each of which has at least one. The first ones
// have their whole text and their advice, as far as there is room.
func (c *screen) findings(s *summary.Summary) (lines []string) {
	switch {
	case len(s.Unknown) > 0:
		lines = append(lines, c.line().add(yellow, "Not known at this moment: ").add("", term.Line(strings.Join(s.Unknown, ", "))).String())
	case len(s.Findings) == 0:
		lines = append(lines, c.line().add(green, "Nothing needs attention.").String())
	}
	if len(s.Findings) == 0 {
		return append(lines, "")
	}
	shown, room := s.Findings, 1<<20
	if c.height > 0 {
		most := mostFindings + max(0, c.height-24)/3
		room = mostFindings + max(0, c.height-24)/2
		shown = shown[:min(most, len(shown))]
	}
	lines = append(lines, c.line().add(bold, "Look at").String())
	room -= len(shown)
	for i := range shown {
		all := c.finding(s, &shown[i])
		if more := len(all) - 1; more > room {
			all, room = []string{c.line().join(c.about(s, &shown[i])).String()}, 0
		} else {
			room -= more
		}
		lines = append(lines, all...)
	}
	if left := len(s.Findings) - len(shown); left > 0 {
		lines = append(lines, c.line().add(dim, fmt.Sprintf("  … %d more", left)).String())
	}
	return append(lines, "")
}

// span is a text in a colour.
type span struct{ colour, text string }

// join adds spans.
func (l *line) join(all []span) *line {
	for _, s := range all {
		l.add(s.colour, s.text)
	}
	return l
}

// about returns the mark, the age and the text of a finding.
func (c *screen) about(s *summary.Summary, f *attention.Finding) []span {
	mark, colour := "·", dim
	switch f.Level {
	case attention.Urgent:
		mark, colour = "!!", red
	case attention.Warning:
		mark, colour = "!", yellow
	}
	age := ""
	if d := s.At.Sub(f.Since); !f.Since.IsZero() && d >= time.Second {
		age = "(" + attention.Spell(d.Truncate(time.Second)) + ") "
	}
	return []span{{colour, fmt.Sprintf("%2s ", mark)}, {dim, age}, {"", term.Line(f.Text)}}
}

// finding returns the lines of a whole finding: its text and its advice.
func (c *screen) finding(s *summary.Summary, f *attention.Finding) (lines []string) {
	const indent = "   "
	parts := c.about(s, f)
	text := term.Fold(parts[1].text+parts[2].text, c.width-len(indent), "")
	for i, one := range strings.Split(text, "\n") {
		switch age, found := strings.CutPrefix(one, parts[1].text); {
		case i > 0:
			lines = append(lines, c.line().add("", indent+one).String())
		case found:
			lines = append(lines, c.line().join(parts[:2]).add("", age).String())
		default:
			lines = append(lines, c.line().join(parts[:1]).add("", one).String())
		}
	}
	if f.Advice != "" {
		for one := range strings.SplitSeq(term.Fold(term.Line(f.Advice), c.width-len(indent), ""), "\n") {
			lines = append(lines, c.line().add(dim, indent+one).String())
		}
	}
	return lines
}

func (c *screen) foot() string {
	pause := "pause"
	if c.paused {
		pause = "go on"
	}
	return c.line().add(bold, "q").add(dim, " quit  ").add(bold, "p").add(dim, " "+pause+"  ").add(bold, "s").add(dim, " sort by "+(1-c.sort).String()).String()
}
