package pool

import (
	"runtime"
	"testing"
	"time"
)

// item runs until its test ends it.
type item struct {
	Slot
	pool *gated
	over chan struct{}
}

// Run implements [Item].
func (r *item) Run() Result {
	r.pool.began <- r
	<-r.over
	return Ended
}

// gated is a pool whose items run until they are ended. It sends running items over began.
type gated struct {
	*Pool[*item]
	began chan *item
}

func newGated(t *testing.T, cfg Config, rs ...*item) *gated {
	g := &gated{Pool: New[*item](cfg), began: make(chan *item, 100)}
	for _, r := range rs {
		r.pool = g
	}
	t.Cleanup(func() {
		g.Close()
		for _, r := range rs {
			select {
			case <-r.over:
			default:
				close(r.over)
			}
		}
		g.Wait()
	})
	return g
}

func (g *gated) end(r *item) { close(r.over) }

func (g *gated) begins(t *testing.T, want *item) {
	t.Helper()
	select {
	case r := <-g.began:
		if r != want {
			t.Fatal("another item begins")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the item does not begin")
	}
}

// hasBegun checks how many items have got a slot so far.
func (g *gated) hasBegun(t *testing.T, want int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.slots.begun != want {
		t.Fatalf("%d items have begun, want %d", g.slots.begun, want)
	}
}

func someItems(n int) (rs []*item) {
	for range n {
		rs = append(rs, &item{over: make(chan struct{})})
	}
	return rs
}

// A short run gives up its slot before its end. The pool still waits for it.
func TestPoolYield(t *testing.T) {
	rs := someItems(3)
	g := newGated(t, Config{Slots: 1, Prefetch: 100}, rs...)
	g.Add(rs...)
	g.begins(t, rs[0])
	g.mu.Lock()
	rs[0].began = time.Now().Add(time.Hour) // however long it takes to get there
	g.mu.Unlock()
	g.Yield(rs[0])
	g.begins(t, rs[1])
	if n := g.Unsettled(); n != 2 {
		t.Errorf("%d have not ended, want 2", n)
	}
	g.mu.Lock()
	rs[1].began = time.Now().Add(-time.Minute)
	g.mu.Unlock()
	g.Yield(rs[1]) // too long: it keeps its slot
	g.hasBegun(t, 2)
	g.end(rs[1])
	g.begins(t, rs[2])
	g.end(rs[2])
	g.Close()
	select {
	case <-g.Drained():
		t.Error("the pool is drained before the item that gave up its slot has ended")
	default:
	}
	g.end(rs[0])
	<-g.Drained()
}

// An item that has its last chance runs alone: beside neither a run, nor a settlement.
func TestPoolLastChance(t *testing.T) {
	rs := someItems(3)
	rs[1].LastChance = true
	g := newGated(t, Config{Slots: 2, Prefetch: 100}, rs...)
	g.Add(rs[0])
	g.begins(t, rs[0])
	g.mu.Lock()
	g.slots.drop(&rs[0].Slot)
	g.slots.settling++
	g.mu.Unlock()
	g.Add(rs[1], rs[2])
	g.hasBegun(t, 1)
	g.end(rs[0])
	g.begins(t, rs[1])
	g.hasBegun(t, 2)
	g.end(rs[1])
	g.begins(t, rs[2])
}

// Many items are claimed at once: when half is missing, until nothing is.
func TestPoolRoom(t *testing.T) {
	rs := someItems(9)
	g := newGated(t, Config{Slots: 1, Prefetch: 100}, rs...)
	room := func() int {
		n, _ := g.Room(0)
		return n
	}
	g.bounds = func(slots, long, each int) (int, int) { return 8, 4 }
	if n := room(); n != 8 {
		t.Errorf("room for %d in an empty pool", n)
	}
	g.Add(rs[:5]...)
	g.begins(t, rs[0])
	if n := room(); n != 3 {
		t.Errorf("room for %d while it is filled, want 3", n)
	}
	g.Add(rs[5:8]...)
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

// Where every slot takes one item, a claim for a single slot is deferred while short runs
// are about to end, but only once.
func TestPoolDefersClaim(t *testing.T) {
	rs := someItems(4)
	g := newGated(t, Config{Slots: 4, Prefetch: 1}, rs...)
	room := func() (int, time.Duration) {
		return g.Room(0)
	}
	g.Add(rs...)
	for range rs {
		<-g.began
	}
	g.NoteClaim(true)
	g.end(rs[0])
	for deadline := time.Now().Add(30 * time.Second); g.Running() > 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the item has not ended")
		}
	}
	g.mu.Lock()
	g.slots.runs = pace{typical: time.Microsecond, known: true} // whatever this machine takes
	for _, r := range g.slots.active {
		r.began = time.Now().Add(time.Hour)
	}
	g.mu.Unlock()
	if n, patience := room(); n != 0 || patience != ShortRun {
		t.Errorf("room for %d, patience %s, want none for a moment", n, patience)
	}
	if n, _ := room(); n != 1 {
		t.Errorf("room for %d after a moment, want 1", n)
	}
	g.mu.Lock()
	for _, r := range g.slots.active {
		r.began = time.Now().Add(-time.Hour)
	}
	g.mu.Unlock()
	if n, _ := room(); n != 1 {
		t.Errorf("room for %d beside long runs, want 1", n)
	}
}

// With a bound of items nothing is claimed that may never begin.
func TestPoolMaxItems(t *testing.T) {
	rs := someItems(3)
	g := newGated(t, Config{Slots: 2, MaxItems: 3, Prefetch: 50}, rs...)
	room := func() int {
		n, _ := g.Room(0)
		return n
	}
	g.Add(rs[:2]...)
	<-g.began
	<-g.began
	if n := room(); n != 1 {
		t.Errorf("room for %d, want 1", n)
	}
	select {
	case <-g.Exhausted():
		t.Error("exhausted with one item left")
	default:
	}
	g.end(rs[0])
	g.Add(rs[2])
	g.begins(t, rs[2])
	if n := room(); n != 0 {
		t.Errorf("room for %d, want none", n)
	}
	<-g.Exhausted()
}

// Items that wait behind long runs go back, the newest ones.
func TestPoolExcess(t *testing.T) {
	rs := someItems(6)
	g := newGated(t, Config{Slots: 1}, rs...)
	g.bounds = func(slots, long, each int) (int, int) { return 2, 1 }
	g.Add(rs...)
	g.begins(t, rs[0])
	if back := g.Excess(); back != nil {
		t.Errorf("%d go back at once", len(back))
	}
	g.mu.Lock()
	rs[1].queued = time.Now().Add(-StaleAfter)
	g.mu.Unlock()
	back := g.Excess()
	if len(back) != 4 || back[0] != rs[2] || back[3] != rs[5] || g.Waiting() != 1 {
		t.Errorf("%d go back and %d stay", len(back), g.Waiting())
	}
}

// Goroutines are reused, and too many of them end.
func TestPoolParks(t *testing.T) {
	rs := someItems(200)
	g := newGated(t, Config{Slots: 100}, rs...)
	for half := range 2 {
		now := rs[100*half : 100*half+100]
		g.Add(now...)
		for range now {
			<-g.began
		}
		for _, r := range now {
			g.end(r)
		}
		for deadline := time.Now().Add(30 * time.Second); g.Unsettled() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("they do not end")
			}
		}
	}
	g.mu.Lock()
	n := len(g.parking.parked)
	g.mu.Unlock()
	if n > 100 {
		t.Errorf("%d goroutines wait after 100 at once", n)
	}
	g.Resize(1)
	g.mu.Lock()
	n = len(g.parking.parked)
	g.mu.Unlock()
	if n > 1+maxSettling {
		t.Errorf("%d goroutines wait for one slot", n)
	}
}

// An end while a goroutine is being woken is signalled: the items that it is woken for do
// not wait for a slot.
func TestPoolTellsOfRoomWhileOneIsWoken(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the woken one runs when this one waits
	rs := someItems(4)
	g := newGated(t, Config{Slots: 4}, rs...)
	g.Add(rs[0])
	g.begins(t, rs[0])
	if n, _ := g.Room(0); n != 3 {
		t.Fatalf("room for %d, want 3", n)
	}
	g.Add(rs[1:]...)
	g.mu.Lock()
	active, ready := len(g.slots.active), len(g.ready)
	g.mu.Unlock()
	if active != 2 || ready != 2 {
		t.Errorf("%d have slots and %d wait, want 2 and 2: more than one goroutine is woken at a time", active, ready)
	}
	if n, _ := g.Room(0); n != 0 {
		t.Fatalf("room for %d, want none", n)
	}
	g.end(rs[0])
	for range rs[1:] {
		<-g.began
	}
	select {
	case <-g.Changed():
	case <-time.After(30 * time.Second):
		t.Error("the free slot is not signalled")
	}
}

// Waiting items can be withdrawn; the others keep their order.
func TestWithdraw(t *testing.T) {
	rs := make([]*item, 5)
	for i := range rs {
		rs[i] = &item{over: make(chan struct{})}
	}
	rs[1].LastChance = true // it waits to run alone, and is withdrawn
	p := newGated(t, Config{Slots: 1}, rs...)
	p.Add(rs...)
	p.begins(t, rs[0])
	drain(p.Changed())
	got := p.Withdraw(func(r *item) bool { return r == rs[1] || r == rs[3] || r == rs[0] })
	if len(got) != 2 || got[0] != rs[1] || got[1] != rs[3] {
		t.Errorf("withdrawn are %v, want the second and the fourth", got)
	}
	select {
	case <-p.Changed():
	default:
		t.Error("there is room, and the consumer does not hear of it")
	}
	if n := p.Waiting(); n != 2 {
		t.Errorf("%d items wait, want 2", n)
	}
	p.end(rs[0])
	p.begins(t, rs[2])
	p.end(rs[2])
	p.begins(t, rs[4])
	if got := p.Withdraw(func(*item) bool { return true }); got != nil {
		t.Errorf("running items are withdrawn: %v", got)
	}
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}
