package worker

import (
	"runtime/debug"
	"sync"
	"time"

	"github.com/evently/workers/worker/internal/process"
)

// memoryGuard tells when the process has grown beyond Config.MaxMemory.
type memoryGuard struct {
	most int64        // bytes; 0: no bound
	size func() int64 // what the process has
	free func()       // gives garbage back to the system
	now  func() time.Time

	mu    sync.Mutex
	freed time.Time // last call of free
}

func newMemoryGuard(most int64, now func() time.Time) *memoryGuard {
	return &memoryGuard{most: most, size: process.Resident, free: debug.FreeOSMemory, now: now}
}

// freePause is the least time between two collections of garbage: a process that
// stays close below its bound must not do little else.
const freePause = time.Second

// over returns the size of the process when that is more than it may be. Garbage
// does not count: Go keeps it for a while, and a process that was restarted
// because of it has gained nothing.
func (g *memoryGuard) over() (size int64, over bool) {
	if g.most == 0 || g.size() <= g.most || !g.mu.TryLock() {
		return 0, false // or somebody else is at it
	}
	defer g.mu.Unlock()
	if now := g.now(); now.Sub(g.freed) >= freePause {
		g.free()
		g.freed = now
	} else {
		return 0, false
	}
	size = g.size()
	return size, size > g.most
}

// checkMemory ends the worker, as MaxTasks does, when the process is too large.
func (w *Worker) checkMemory() {
	size, over := w.memory.over()
	if !over {
		return
	}
	w.log.Warn("memory limit exceeded, shutting down for restart", "resident", size, "max_memory", w.cfg.MaxMemory)
	w.pool.StopBeginning()
	w.recycle()
}
