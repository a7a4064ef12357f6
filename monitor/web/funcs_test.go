package web

import (
	"html/template"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/words"
)

func TestFigures(t *testing.T) {
	for want, got := range map[string]string{
		"0 s": seconds(0), "12 ms": seconds(0.012), "1.2 s": seconds(1.2), "99.5 s": seconds(99.5), "12 min 03 s": seconds(723), "2 h 00 min": seconds(7200),
		"3 d 1 h": seconds(3*86400 + 3700), "-1.5 s": seconds(-1.5), "–": seconds(math.NaN()), "250 µs": seconds(0.00025),
		"1,234,567": grouped(1234567), "-1,234": grouped(-1234), "999": grouped(999), "0": grouped(0),
		"12.3": figure(12.34), "0.05": figure(0.05), "123": figure(123.4), "1,235": figure(1234.6),
		"99.9 %": percent(0.99999), "100 %": percent(1), "0 %": percent(0),
		"12345678": short("12345678-1234"), "123456789": short("123456789"), "ääääääää": short("ääääääääää"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := string(ago(time.Date(2026, 11, 30, 1, 2, 3, 4e6, time.FixedZone("", 3600)))); got != `<time datetime="2026-11-30T00:02:03.004Z" data-ago>`+words.Clock(time.Date(2026, 11, 30, 0, 2, 3, 0, time.UTC))+`</time>` {
		t.Errorf("ago: %s", got)
	}
	if got := soft("a_b.c<d>@e"); got != "a_<wbr>b.<wbr>c&lt;d&gt;@<wbr>e" {
		t.Errorf("soft: %s", got)
	}
	if got := taskName(`x"y.send_<b>`); got != template.HTML(`<span title="x&#34;y.send_&lt;b&gt;">send_<wbr>&lt;b&gt;</span>`) {
		t.Errorf("taskname: %s", got)
	}
	if got, _ := query("a", "", "b", "x y&z", "c", 0); got != "?b=x+y%26z&c=0" {
		t.Errorf("query: %s", got)
	}
}

// Charts have gaps where values are missing, and no values that JSON cannot hold.
func TestCharts(t *testing.T) {
	c := Chart{Times: []int64{1, 2, 3}, Series: []Series{{Label: "</script>", Tone: "nonsense", Values: []float64{1, math.NaN(), math.Inf(1)}}}}
	text, err := c.JSON()
	if err != nil || !strings.Contains(text, `"values":[1,null,null]`) || !strings.Contains(text, `"tone":"calm"`) || strings.Contains(text, "</script>") {
		t.Errorf("%v: %s", err, text)
	}
	if d := string(c.Drawing()); strings.Contains(d, "NaN") || strings.Contains(d, "Inf") {
		t.Errorf("drawing %s", d)
	}
	if (Chart{}).Empty() != true || c.Empty() {
		t.Error("emptiness")
	}
}
