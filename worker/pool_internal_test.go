package worker

import (
	"runtime"
	"testing"
	"time"
)

// gated is a pool whose requests run until they are let go; what it gets over began
// runs, and over ended it is told which one ends.
type gated struct {
	*pool
	began chan *request
	ends  map[*request]chan struct{}
}

func newGated(t *testing.T, slots int, rs ...*request) *gated {
	g := &gated{pool: newPool(slots), began: make(chan *request, 100), ends: map[*request]chan struct{}{}}
	for _, r := range rs {
		g.ends[r] = make(chan struct{})
	}
	g.run = func(r *request) after {
		r.started = time.Now()
		g.began <- r
		<-g.ends[r]
		return runEnded
	}
	t.Cleanup(func() {
		g.close()
		for _, end := range g.ends {
			select {
			case <-end:
			default:
				close(end)
			}
		}
		g.wg.Wait()
	})
	return g
}

func (g *gated) end(r *request) { close(g.ends[r]) }

func (g *gated) begins(t *testing.T, want *request) {
	t.Helper()
	select {
	case r := <-g.began:
		if r != want {
			t.Fatal("another request begins")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the request does not begin")
	}
}

// hasBegun wants that many to have got a slot so far.
func (g *gated) hasBegun(t *testing.T, want int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.begun != want {
		t.Fatalf("%d requests have begun, want %d", g.begun, want)
	}
}

func someRequests(n int) (rs []*request) {
	for range n {
		rs = append(rs, &request{attempt: &attempt{}})
	}
	return rs
}

// A short run gives up its slot before its end, and is waited for all the same.
func TestPoolRelease(t *testing.T) {
	rs := someRequests(3)
	g := newGated(t, 1, rs...)
	g.add(rs...)
	g.begins(t, rs[0])
	g.mu.Lock()
	rs[0].began = time.Now().Add(time.Hour) // however long it takes to get there
	g.mu.Unlock()
	g.release(rs[0])
	g.begins(t, rs[1])
	if n := g.unended(); n != 2 {
		t.Errorf("%d have not ended, want 2", n)
	}
	g.mu.Lock()
	rs[1].began = time.Now().Add(-time.Minute)
	g.mu.Unlock()
	g.release(rs[1]) // too long: it keeps its slot
	g.hasBegun(t, 2)
	g.end(rs[1])
	g.begins(t, rs[2])
	g.end(rs[2])
	g.close()
	select {
	case <-g.drained():
		t.Error("the pool is empty before the end of what gave up its slot")
	default:
	}
	g.end(rs[0])
	<-g.drained()
}

// What has its last chance runs when nothing else does: neither a run, nor an end that
// is not stored.
func TestPoolLastChance(t *testing.T) {
	rs := someRequests(3)
	rs[1].lastChance = true
	g := newGated(t, 2, rs...)
	g.add(rs[0])
	g.begins(t, rs[0])
	g.mu.Lock()
	delete(g.active, rs[0])
	g.ending++
	g.mu.Unlock()
	g.add(rs[1], rs[2])
	g.hasBegun(t, 1)
	g.end(rs[0])
	g.begins(t, rs[1])
	g.hasBegun(t, 2)
	g.end(rs[1])
	g.begins(t, rs[2])
}

// Many are claimed at once: when half is missing, until nothing is.
func TestPoolRoom(t *testing.T) {
	rs := someRequests(9)
	g := newGated(t, 1, rs...)
	room := func() int {
		n, _ := g.room(func(slots, long, each int) (int, int) { return 8, 4 }, 0)
		return n
	}
	if n := room(); n != 8 {
		t.Errorf("room for %d in an empty pool", n)
	}
	g.add(rs[:5]...)
	g.begins(t, rs[0])
	if n := room(); n != 3 {
		t.Errorf("room for %d while it is filled, want 3", n)
	}
	g.add(rs[5:8]...)
	if n := room(); n != 0 {
		t.Errorf("room for %d in a full pool", n)
	}
	for i := range 4 {
		if n := room(); n != 0 {
			t.Errorf("room for %d with %d missing", n, i)
		}
		g.end(rs[i])
		g.begins(t, rs[i+1])
	}
	if n := room(); n != 4 {
		t.Errorf("room for %d, want 4", n)
	}
}

// Where every slot takes one, a round trip for a single one of them is put off while
// short runs are about to give back theirs, but only once.
func TestPoolHesitates(t *testing.T) {
	rs := someRequests(4)
	g := newGated(t, 4, rs...)
	room := func() (int, time.Duration) {
		return g.room(func(slots, long, each int) (int, int) { return slots, 1 }, 0)
	}
	g.add(rs...)
	for range rs {
		<-g.began
	}
	g.found(true)
	g.end(rs[0])
	for deadline := time.Now().Add(10 * time.Second); g.running() > 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the request has not ended")
		}
	}
	g.mu.Lock()
	g.runs = pace{typical: time.Microsecond, known: true} // whatever this machine takes
	for r := range g.active {
		r.began = time.Now().Add(time.Hour)
	}
	g.mu.Unlock()
	if n, patience := room(); n != 0 || patience != shortRun {
		t.Errorf("room for %d, patience %s, want none for a moment", n, patience)
	}
	if n, _ := room(); n != 1 {
		t.Errorf("room for %d after a moment, want 1", n)
	}
	g.mu.Lock()
	for r := range g.active {
		r.began = time.Now().Add(-time.Hour)
	}
	g.mu.Unlock()
	if n, _ := room(); n != 1 {
		t.Errorf("room for %d beside long runs, want 1", n)
	}
}

// With a number of tasks that may run nothing is claimed that never will.
func TestPoolMost(t *testing.T) {
	rs := someRequests(3)
	g := newGated(t, 2, rs...)
	g.most, g.used = 3, func() {}
	room := func() int {
		n, _ := g.room(func(slots, long, each int) (int, int) { return 100, 1 }, 0)
		return n
	}
	g.add(rs[:2]...)
	<-g.began
	<-g.began
	if n := room(); n != 1 {
		t.Errorf("room for %d, want 1", n)
	}
	g.end(rs[0])
	g.add(rs[2])
	g.begins(t, rs[2])
	if n := room(); n != 0 {
		t.Errorf("room for %d, want none", n)
	}
}

// What waits in vain behind long runs goes, the newest of it.
func TestPoolExcess(t *testing.T) {
	rs := someRequests(6)
	g := newGated(t, 1, rs...)
	two := func(slots, long, each int) (int, int) { return 2, 1 }
	g.add(rs...)
	g.begins(t, rs[0])
	if back := g.excess(two); back != nil {
		t.Errorf("%d go back at once", len(back))
	}
	g.mu.Lock()
	rs[1].queued = time.Now().Add(-inVain)
	g.mu.Unlock()
	back := g.excess(two)
	if len(back) != 4 || back[0] != rs[2] || back[3] != rs[5] || g.waiting() != 1 {
		t.Errorf("%d go back and %d stay", len(back), g.waiting())
	}
}

// Goroutines that ran once are used again, and too many of them end.
func TestPoolParks(t *testing.T) {
	rs := someRequests(200)
	g := newGated(t, 100, rs...)
	for half := range 2 {
		now := rs[100*half : 100*half+100]
		g.add(now...)
		for range now {
			<-g.began
		}
		for _, r := range now {
			g.end(r)
		}
		for deadline := time.Now().Add(10 * time.Second); g.unended() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("they do not end")
			}
		}
	}
	g.mu.Lock()
	n := len(g.parked)
	g.mu.Unlock()
	if n > 100 {
		t.Errorf("%d goroutines wait after 100 at once", n)
	}
	g.resize(1)
	g.mu.Lock()
	n = len(g.parked)
	g.mu.Unlock()
	if n > 1+mostEnding {
		t.Errorf("%d goroutines wait for one slot", n)
	}
}

// An end while a goroutine is being woken is told to whoever waits for room: those that
// it is woken for do not wait for a slot.
func TestPoolTellsOfRoomWhileOneIsWoken(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the woken one runs when this one waits
	prefetch := (&Config{}).prefetch
	rs := someRequests(4)
	g := newGated(t, 4, rs...)
	g.add(rs[0])
	g.begins(t, rs[0])
	if n, _ := g.room(prefetch, 0); n != 3 {
		t.Fatalf("room for %d, want 3", n)
	}
	g.add(rs[1:]...)
	g.mu.Lock()
	active, ready := len(g.active), len(g.ready)
	g.mu.Unlock()
	if active != 2 || ready != 2 {
		t.Errorf("%d have slots and %d wait, want 2 and 2: more than one goroutine is woken at a time", active, ready)
	}
	if n, _ := g.room(prefetch, 0); n != 0 {
		t.Fatalf("room for %d, want none", n)
	}
	g.end(rs[0])
	for range rs[1:] {
		<-g.began
	}
	select {
	case <-g.changed:
	case <-time.After(10 * time.Second):
		t.Error("nobody is told of the free slot")
	}
}
