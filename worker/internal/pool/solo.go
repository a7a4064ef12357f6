package pool

import "time"

// soloGate lets items run alone that have their last chance, so that no other item is
// blamed for a crash. The lock of the pool guards it.
type soloGate struct {
	running *Slot       // of the item that runs alone; nil: none does
	since   time.Time   // the first item waits to run alone; zero: it does not
	timer   *time.Timer // ends soloPatience
}

// soloPatience is how long an item that must run alone waits for the others to end. Then
// it runs beside them.
const soloPatience = 30 * time.Second

// taken reports whether an item runs alone.
func (g *soloGate) taken() bool { return g.running != nil }

// is reports whether slot is that of the item which runs alone.
func (g *soloGate) is(slot *Slot) bool { return g.running == slot }

// enter lets an item run alone.
func (g *soloGate) enter(slot *Slot) { g.running, g.since = slot, time.Time{} }

// leave ends the run of an item, if it ran alone.
func (g *soloGate) leave(slot *Slot) {
	if g.running == slot {
		g.running = nil
	}
}

// waited reports whether the first item has waited long enough. Otherwise it has retry
// called when it has.
func (g *soloGate) waited(retry func()) bool {
	if g.since.IsZero() {
		g.since = time.Now()
		g.timer = time.AfterFunc(soloPatience, retry)
	}
	return time.Since(g.since) >= soloPatience
}

// reset forgets an item that waited to run alone.
func (g *soloGate) reset() {
	g.since = time.Time{}
	g.stop()
}

// stop stops the timer.
func (g *soloGate) stop() {
	if g.timer != nil {
		g.timer.Stop()
	}
}
