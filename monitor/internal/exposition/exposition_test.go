package exposition_test

import (
	"math"
	"testing"

	"github.com/evently/workers/monitor/internal/exposition"
)

// The text is that of prometheus_client 0.21 for Python.
func TestWriter(t *testing.T) {
	var w exposition.Writer
	w.Family("a_total", "Lines\nand \\.", "counter")
	w.Sample("a_total", exposition.Labels{"name", "x\"\\\ny"}, 12)
	w.Sample("a_total", nil, 0.1)
	for _, v := range []float64{1e6, 1234567.5, 12345678901, 1e16, 123456, math.Inf(1), math.Inf(-1), math.NaN(), -2, 1e-9} {
		w.Sample("v", nil, v)
	}
	h := exposition.NewHistogram([]float64{0.5, 1, 10})
	for _, v := range []float64{0.5, 0.6, 100, -1} {
		h.Observe(v)
	}
	w.Histogram("h", exposition.Labels{"a", "1", "z", "2"}, h)
	w.Histogram("h", nil, exposition.NewHistogram(nil))
	const want = `# HELP a_total Lines\nand \\.
# TYPE a_total counter
a_total{name="x\"\\\ny"} 12.0
a_total 0.1
v 1e+06
v 1.2345675e+06
v 1.2345678901e+010
v 1e+16
v 123456.0
v +Inf
v -Inf
v NaN
v -2.0
v 1e-09
h_bucket{a="1",le="0.5",z="2"} 2.0
h_bucket{a="1",le="1.0",z="2"} 3.0
h_bucket{a="1",le="10.0",z="2"} 3.0
h_bucket{a="1",le="+Inf",z="2"} 4.0
h_count{a="1",z="2"} 4.0
h_sum{a="1",z="2"} 100.1
h_bucket{le="+Inf"} 0.0
h_count 0.0
h_sum 0.0
`
	if got := string(w.Bytes()); got != want {
		t.Errorf("wrote:\n%s\nwant:\n%s", got, want)
	}
}
