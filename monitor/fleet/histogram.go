package fleet

import (
	"math"
	"time"
)

// Durations are counted in classes, each a tenth longer than the one before: 48 µs to 4
// days. A quantile is the middle of its class, so it is exact to 5 percent.
const (
	classes     = 240
	classGrowth = 1.1
	classFirst  = 50e-6 // seconds; the end of the first class
)

var logGrowth = math.Log(classGrowth)

// histogram counts durations by class.
type histogram struct {
	counts [classes]uint32
	count  int64
	sum    float64 // seconds
}

func (h *histogram) add(seconds float64) {
	if !(seconds >= 0) {
		return
	}
	class := 0
	if seconds > classFirst {
		class = min(int(math.Log(seconds/classFirst)/logGrowth)+1, classes-1)
	}
	h.counts[class]++
	h.count++
	h.sum += seconds
}

func (h *histogram) merge(other *histogram) {
	if other.count == 0 {
		return
	}
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.count += other.count
	h.sum += other.sum
}

func (h *histogram) quantiles() Quantiles {
	if h.count == 0 {
		return Quantiles{}
	}
	return Quantiles{
		Count: h.count, Sum: duration(h.sum),
		P50: h.quantile(0.5), P95: h.quantile(0.95), P99: h.quantile(0.99),
	}
}

func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.count)))
	for class, n := range h.counts {
		if rank -= int64(n); rank <= 0 {
			return duration(classFirst * math.Pow(classGrowth, float64(class)-0.5))
		}
	}
	return 0
}

// duration converts seconds, within the range of a Duration.
func duration(seconds float64) time.Duration {
	return time.Duration(min(seconds, 1e9) * 1e9)
}
