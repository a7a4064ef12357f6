//go:build !race || lint

package protocol_test

import (
	"testing"

	"github.com/evently/workers/internal/testkit/allocs"
)

// Not under the race detector, which has allocations of its own.
func TestAllocations(t *testing.T) {
	got := map[string]float64{}
	for _, op := range operations(t) {
		got[op.name] = testing.AllocsPerRun(100, func() {
			if err := op.do(); err != nil {
				t.Fatal(err)
			}
		})
	}
	allocs.Check(t, "testdata/allocs.golden", got, 0.05, *update)
}
