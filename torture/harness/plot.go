package harness

import (
	"fmt"
	"html"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Plot is a picture of what was measured over time: one panel for each series, on a
// common axis of time, with marks where something was done.
type Plot struct {
	Title  string
	Length time.Duration // of the axis
	At     []time.Duration
	Series []Series
	Marks  []Mark
	Legend []string // of the letters of the marks, in lines of the caller's choice
}

// Series has one value for each moment of the plot.
type Series struct {
	Name   string
	Values []int
}

// Mark is a moment, with a letter that the legend explains.
type Mark struct {
	At     time.Duration
	Letter string
}

// Sizes in pixels of the picture.
const (
	plotWidth   = 800
	plotLeft    = 52
	plotRight   = 16
	plotTop     = 76
	panelHeight = 64
	panelGap    = 30
)

// The picture is shown in documents whose background it does not know, so that it
// brings its own, and follows the reader from light to dark.
const plotStyle = `<style>
  .back { fill: #ffffff } .grid { stroke: #d8dde3; stroke-width: 1 } .mark { stroke: #b3541e; stroke-width: 1; opacity: .35 }
  .line { fill: none; stroke: #0b5cad; stroke-width: 1.6; stroke-linejoin: round }
  text { font: 12px system-ui, sans-serif; fill: #24292f } .small { font-size: 11px; fill: #57606a } .letter { font-size: 9px; fill: #9a4517 } .title { font-size: 14px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } .grid { stroke: #30363d } .mark { stroke: #f0883e; opacity: .45 } .line { stroke: #6cb6ff }
    text { fill: #e6edf3 } .small { fill: #9da7b3 } .letter { fill: #f0a367 }
  }
</style>
`

// Write draws the plot as SVG.
func (p Plot) Write(w io.Writer) error {
	var b strings.Builder
	bottom := plotTop + len(p.Series)*(panelHeight+panelGap) - panelGap
	height := bottom + 44 + 16*len(p.Legend)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img" aria-label="%s">`+"\n",
		plotWidth, height, html.EscapeString(p.Title))
	b.WriteString(plotStyle)
	fmt.Fprintf(&b, `<rect class="back" width="%d" height="%d"/>`+"\n", plotWidth, height)
	label(&b, "title", plotLeft, 20, "start", p.Title)
	for i, m := range p.Marks {
		fmt.Fprintf(&b, `<path class="mark" d="M%.1f %dV%d"/>`+"\n", p.x(m.At), plotTop, bottom)
		// In three rows: ten seconds are less wide than a letter.
		label(&b, "letter", p.x(m.At), float64(plotTop-42+i%3*9), "middle", m.Letter)
	}
	for i, s := range p.Series {
		p.panel(&b, s, plotTop+i*(panelHeight+panelGap))
	}
	for _, at := range p.ticks() {
		label(&b, "small", p.x(at), float64(bottom+15), "middle", strconv.FormatFloat(at.Minutes(), 'f', -1, 64))
	}
	label(&b, "small", plotWidth-plotRight, float64(bottom+30), "end", "minutes")
	for i, line := range p.Legend {
		label(&b, "small", plotLeft, float64(bottom+46+16*i), "start", line)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// panel draws one series below its name; its axis begins at 0, so that flat looks
// flat and growth does not hide.
func (p Plot) panel(b *strings.Builder, s Series, top int) {
	most := 1
	for _, v := range s.Values {
		most = max(most, v)
	}
	most = ceiling(most)
	y := func(v int) float64 { return float64(top+panelHeight) - float64(panelHeight*v)/float64(most) }
	for _, v := range []int{0, most} {
		fmt.Fprintf(b, `<path class="grid" d="M%d %.1fH%d"/>`+"\n", plotLeft, y(v), plotWidth-plotRight)
		label(b, "small", plotLeft-6, y(v)+4, "end", strconv.Itoa(v))
	}
	for _, at := range p.ticks() {
		fmt.Fprintf(b, `<path class="grid" d="M%.1f %dv4"/>`+"\n", p.x(at), top+panelHeight)
	}
	label(b, "", plotLeft, float64(top-6), "start", s.Name)
	points := make([]string, 0, len(s.Values))
	for i, v := range s.Values {
		points = append(points, fmt.Sprintf("%.1f,%.1f", p.x(p.At[i]), y(v)))
	}
	fmt.Fprintf(b, `<polyline class="line" points="%s"/>`+"\n", strings.Join(points, " "))
}

func (p Plot) x(at time.Duration) float64 {
	return plotLeft + float64(plotWidth-plotLeft-plotRight)*float64(at)/float64(max(p.Length, 1))
}

// ticks are ten at most, at whole and half minutes.
func (p Plot) ticks() []time.Duration {
	step := 30 * time.Second
	for p.Length > 10*step {
		step *= 2
	}
	var all []time.Duration
	for at := time.Duration(0); at <= p.Length; at += step {
		all = append(all, at)
	}
	return all
}

// ceiling is the next round number: 1, 2, 3, 4, 5, 6 or 8 and zeros.
func ceiling(n int) int {
	unit := int(math.Pow10(len(strconv.Itoa(n)) - 1))
	for _, k := range []int{1, 2, 3, 4, 5, 6, 8} {
		if n <= k*unit {
			return k * unit
		}
	}
	return 10 * unit
}

func label(b *strings.Builder, class string, x, y float64, anchor, text string) {
	fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, html.EscapeString(text))
}
