// Package gcfloor lets a process with a small heap collect its garbage less often.
//
// Go collects when the heap has doubled, and at 4 MiB at the earliest. A worker that
// keeps 2 MiB alive and makes 100 MB of garbage a second collects dozens of times a
// second, which is a fifth of its CPU time. A floor of 8 MiB halves that for 4 MiB more
// of memory. A large heap is collected as ever, so that it does not grow beyond its double.
//
// It is for functions main: the garbage collector belongs to the process, not to a
// library.
package gcfloor

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Usual is a floor for a worker, in bytes: twice what Go has.
const Usual = 8 << 20

const (
	usual   = 100     // percent; Go's own default
	minimum = 4 << 20 // bytes of heap at which Go collects at the earliest, with 100 percent
)

// Keep makes bytes the size of the heap at which garbage is collected at the earliest,
// until stop is called. Where GOGC is set, or the program has set another percentage, it
// does nothing: the choice was made. GOMEMLIMIT holds as ever.
func Keep(bytes int64) (stop func()) {
	if os.Getenv("GOGC") != "" || bytes <= minimum {
		return func() {}
	}
	f := &floor{bytes: uint64(bytes), percent: usual}
	if before := debug.SetGCPercent(usual); before != usual {
		debug.SetGCPercent(before)
		return func() {}
	}
	f.adjust()
	f.watch()
	return f.stop
}

type floor struct {
	bytes uint64

	mu      sync.Mutex
	percent int
	stopped bool
}

// watch adjusts the floor after each collection: then it is known what is alive.
func (f *floor) watch() {
	runtime.AddCleanup(&struct{ p *floor }{f}, func(f *floor) {
		if f.adjust() {
			f.watch()
		}
	}, f)
}

// adjust sets the percentage for what is alive now. It reports false when there is no
// floor any more.
func (f *floor) adjust() bool {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return false
	}
	p := percent(f.bytes, live[0].Value.Uint64())
	// It stops the world for a moment, so not for a little.
	if change := max(p-f.percent, f.percent-p); change > f.percent/8 || p == usual && change > 0 {
		debug.SetGCPercent(p)
		f.percent = p
	}
	return true
}

func (f *floor) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stopped {
		f.stopped = true
		debug.SetGCPercent(usual)
	}
}

// percent is what lets a heap of which so much is alive grow to the floor, or to its
// double.
func percent(floor, live uint64) int {
	most := floor * usual / minimum // for a heap with next to nothing alive
	if live == 0 {
		return int(most)
	}
	if live >= floor/2 {
		return usual
	}
	return int(min(most, (floor-live)*100/live))
}
