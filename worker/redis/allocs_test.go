//go:build !race || lint

package redis_test

import (
	"flag"
	"testing"

	"github.com/evently/workers/internal/testkit/allocs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Not under the race detector, which has allocations of its own. The whole way of a
// task is not counted, as it depends on how much happens to go in one round trip;
// the rest of it is counted in package worker.
func TestAllocations(t *testing.T) {
	got := map[string]float64{}
	for _, name := range []string{"claim/1", "claim/100", "settle/1", "settle/64"} {
		r := testing.Benchmark(benchmarks[name])
		if r.N == 0 {
			t.Fatalf("%s failed", name)
		}
		got[name] = float64(r.AllocsPerOp())
	}
	allocs.Check(t, "testdata/allocs.golden", got, 0.1, *update)
}
