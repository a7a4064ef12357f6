// Package exposition writes metrics in the text format of Prometheus as prometheus_client for
// Python does, so that series have the very labels that dashboards know: le="1.0", not "1".
package exposition

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/evently/workers/worker/protocol"
)

// ContentType is that of the text format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// DefaultBuckets are those of prometheus_client, in seconds, without +Inf.
var DefaultBuckets = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}

// Labels are pairs of a name and a value, in the order of the names.
type Labels []string

// Writer gathers the text of a scrape.
type Writer struct{ buf []byte }

// Family begins a metric. kind is "counter", "gauge" or "histogram".
func (w *Writer) Family(name, help, kind string) {
	w.buf = append(w.buf, "# HELP "+name+" "+strings.NewReplacer("\\", `\\`, "\n", `\n`).Replace(help)+"\n"...)
	w.buf = append(w.buf, "# TYPE "+name+" "+kind+"\n"...)
}

// Sample adds the value of one series.
func (w *Writer) Sample(name string, labels Labels, value float64) {
	w.sample(name, labels, "", value)
}

// Histogram adds the series of a histogram.
func (w *Writer) Histogram(name string, labels Labels, h *Histogram) {
	total := 0.0
	for i, n := range h.counts {
		total += float64(n)
		le := "+Inf"
		if i < len(h.bounds) {
			le = number(h.bounds[i])
		}
		w.sample(name+"_bucket", labels, le, total)
	}
	w.Sample(name+"_count", labels, total)
	w.Sample(name+"_sum", labels, h.sum)
}

var escape = strings.NewReplacer("\\", `\\`, "\n", `\n`, `"`, `\"`)

// sample writes the labels in the order of their names, and le among them.
func (w *Writer) sample(name string, labels Labels, le string, value float64) {
	w.buf = append(w.buf, name...)
	comma := byte('{')
	pair := func(name, value string) {
		w.buf = append(append(append(w.buf, comma), name...), `="`...)
		w.buf = append(append(w.buf, escape.Replace(value)...), '"')
		comma = ','
	}
	for i := 0; i+1 < len(labels); i += 2 {
		if le != "" && labels[i] > "le" {
			pair("le", le)
			le = ""
		}
		pair(labels[i], labels[i+1])
	}
	if le != "" {
		pair("le", le)
	}
	if comma == ',' {
		w.buf = append(w.buf, '}')
	}
	w.buf = append(w.buf, " "+number(value)+"\n"...)
}

// number writes a float as prometheus_client does: as Python's repr, but with an exponent
// from a million on, as in Go.
func number(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "+Inf"
	case math.IsInf(f, -1):
		return "-Inf"
	case math.IsNaN(f):
		return "NaN"
	}
	s := string(protocol.AppendFloat(nil, f))
	if dot := strings.IndexByte(s, '.'); f > 0 && dot > 6 {
		mantissa := strings.TrimRight(s[:1]+"."+s[1:dot]+s[dot+1:], "0.")
		return mantissa + "e+0" + strconv.Itoa(dot-1) // also before two digits, as there
	}
	return s
}

// Bytes returns the text.
func (w *Writer) Bytes() []byte { return w.buf }

// ServeHTTP answers a scrape with the text.
func (w *Writer) ServeHTTP(out http.ResponseWriter, _ *http.Request) {
	out.Header().Set("Content-Type", ContentType)
	_, _ = out.Write(w.buf) // the client is gone
}

// Histogram counts values in buckets.
type Histogram struct {
	bounds []float64
	counts []uint64 // one more than bounds
	sum    float64
}

// NewHistogram returns a Histogram with these upper bounds, in their order, and +Inf.
func NewHistogram(bounds []float64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

// Observe counts a value.
func (h *Histogram) Observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v) // the first bound that is not below v
	h.counts[i]++
	h.sum += v
}
