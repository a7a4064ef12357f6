package process

import (
	"runtime/debug"
	"sync"
	"time"
)

// Guard notices when the process has grown beyond a number of bytes. Make one with
// NewGuard.
type Guard struct {
	most int64        // bytes; 0: no bound
	size func() int64 // of the process
	free func()       // gives garbage back to the system
	now  func() time.Time

	mu    sync.Mutex
	freed time.Time // last call of free
}

// NewGuard returns a Guard. With most 0 there is no bound.
func NewGuard(most int64, now func() time.Time) *Guard {
	return &Guard{most: most, size: Resident, free: debug.FreeOSMemory, now: now}
}

// freePause is the least time between two collections of garbage. A process that stays
// close below its bound must not spend its time with them.
const freePause = time.Second

// Over returns the size of the process when that exceeds the bound. Garbage does not
// count: Go keeps it for a while, and a restart because of it would gain nothing.
func (g *Guard) Over() (size int64, over bool) {
	if g.most == 0 || g.size() <= g.most || !g.mu.TryLock() {
		return 0, false // or another goroutine looks
	}
	defer g.mu.Unlock()
	now := g.now()
	if now.Sub(g.freed) < freePause {
		return 0, false
	}
	g.free()
	g.freed = now
	size = g.size()
	return size, size > g.most
}
