//go:build !race || lint

package worker_test

import (
	"flag"
	"runtime"
	"testing"

	"github.com/evently/workers/internal/testkit/allocs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Not under the race detector, which has allocations of its own.
func TestAllocations(t *testing.T) {
	g := startGated(t)
	const rounds = 5
	var allocated uint64
	for range rounds {
		var before, after runtime.MemStats
		g.fill(t, engineTasks)
		runtime.ReadMemStats(&before)
		g.drain(t)
		runtime.ReadMemStats(&after)
		allocated += after.Mallocs - before.Mallocs
	}
	got := float64(allocated) / (rounds * engineTasks)
	allocs.Check(t, "testdata/allocs.golden", map[string]float64{"engine/task": got}, 0.1, *update)
}
