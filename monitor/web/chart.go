package web

import (
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"strings"
)

// Chart is a chart over time. A browser with JavaScript draws it with axes and a cursor;
// without, it shows the same lines as a drawing.
type Chart struct {
	ID     string // unique on the page
	Title  string
	Unit   string  // such as "tasks/s" or "s"
	Times  []int64 // seconds since 1970, rising
	Series []Series
	Bars   bool // instead of lines
	Stack  bool // the series are drawn on top of each other
	Height int  // in pixels; default: 160
}

// Series is one line of a [Chart]. NaN is a gap.
type Series struct {
	Label  string
	Tone   Tone
	Values []float64
}

// MarshalJSON writes gaps as null.
func (s Series) MarshalJSON() ([]byte, error) {
	values := make([]*float64, len(s.Values))
	for i, v := range s.Values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			v = math.Round(v*1e6) / 1e6
			values[i] = &v
		}
	}
	return json.Marshal(struct {
		Label  string     `json:"label"`
		Tone   Tone       `json:"tone"`
		Values []*float64 `json:"values"`
	}{s.Label, s.Tone.known(), values})
}

// JSON returns the chart for the script.
func (c Chart) JSON() (string, error) {
	raw, err := json.Marshal(struct {
		Unit   string   `json:"unit,omitempty"`
		Times  []int64  `json:"times"`
		Series []Series `json:"series"`
		Bars   bool     `json:"bars,omitempty"`
		Stack  bool     `json:"stack,omitempty"`
		Height int      `json:"height"`
	}{c.Unit, c.Times, c.Series, c.Bars, c.Stack, c.Tall()})
	return string(raw), err
}

// Tall returns the height in pixels.
func (c Chart) Tall() int {
	if c.Height > 0 {
		return c.Height
	}
	return 160
}

// Empty reports whether there is nothing to draw.
func (c Chart) Empty() bool {
	for _, s := range c.Series {
		for _, v := range s.Values {
			if !math.IsNaN(v) {
				return false
			}
		}
	}
	return true
}

// Drawing returns the lines as SVG.
func (c Chart) Drawing() template.HTML {
	const width, height = 600, 120
	low, high := 0.0, 0.0
	for _, s := range c.Series {
		for _, v := range s.Values {
			if !math.IsNaN(v) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="drawing" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true">`, width, height)
	for _, s := range c.Series {
		fmt.Fprintf(&b, `<path class="line %s" d="%s"/>`, s.Tone.known(), trace(s.Values, low, high, width, height))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // numbers and known words only
}

// Last returns the last value of the series as text.
func (s Series) Last() string {
	for i := len(s.Values) - 1; i >= 0; i-- {
		if v := s.Values[i]; !math.IsNaN(v) {
			return figure(v)
		}
	}
	return "–"
}

// Most returns the largest value of the series as text.
func (s Series) Most() string {
	most := math.Inf(-1)
	for _, v := range s.Values {
		if !math.IsNaN(v) {
			most = max(most, v)
		}
	}
	if math.IsInf(most, 0) {
		return "–"
	}
	return figure(most)
}

// Colour returns the tone of the series.
func (s Series) Colour() Tone { return s.Tone.known() }

func sparkline(values []float64, tone Tone) template.HTML {
	const width, height = 96, 24
	low, high := 0.0, 0.0
	for _, v := range values {
		if !math.IsNaN(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	return template.HTML(fmt.Sprintf(`<svg class="spark" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true"><path class="line %s" d="%s"/></svg>`,
		width, height, tone, trace(values, low, high, width, height))) // numbers and known words only
}

// trace returns the line through values as the d of a path, with a margin for its stroke.
func trace(values []float64, low, high, width, height float64) string {
	const margin = 1.5
	if high <= low {
		high = low + 1
	}
	var b strings.Builder
	pen := "M"
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			pen = "M"
			continue
		}
		x := 0.0
		if len(values) > 1 {
			x = width * float64(i) / float64(len(values)-1)
		}
		y := height - margin - (v-low)/(high-low)*(height-2*margin)
		fmt.Fprintf(&b, "%s%.1f %.1f", pen, x, y)
		pen = "L"
	}
	return b.String()
}
