package worker

import (
	"time"

	"github.com/evently/workers/worker/internal/process"
)

// Resident returns the size of this process.
var Resident = process.Resident

// NewMemoryGuard is what watches over Config.MaxMemory, with a made-up process.
func NewMemoryGuard(most int64, size func() int64, free func(), now func() time.Time) *memoryGuard {
	return &memoryGuard{most: most, size: size, free: free, now: now}
}

// Over reports whether the process is too large.
func (g *memoryGuard) Over() (int64, bool) { return g.over() }
