// Package ways remembers by which of the ways that a server offers it can take a mail.
package ways

import (
	"sync"
	"time"
)

// Way is a way to send a mail. A greater one needs the smaller ones.
type Way int

const (
	// Stepwise waits for the reply to each command. Every server can do it.
	Stepwise Way = iota
	// Pipelined sends MAIL, RCPT and DATA at once, RFC 2920.
	Pipelined
	// Chunked sends MAIL and RCPT at once, and the mail by BDAT, RFC 3030.
	Chunked

	count
)

func (w Way) String() string { return [...]string{"DATA", "PIPELINING", "CHUNKING"}[w] }

const (
	// pause is the time after which a way is tried again. A relay may have been mended.
	pause = time.Hour
	// mostSilent is the number of connections in a row on which a way got no reply before
	// a smaller one is tried. Servers fail in this way for other reasons, too.
	mostSilent = 5
)

// Memory holds the ways that the servers behind one address cannot do although they offer them. The
// zero value knows none. Its methods may be called by several goroutines.
type Memory struct {
	mu     sync.Mutex
	off    [count]time.Time // the way is not used until then
	silent [count]int       // connections without a reply since the last mail by this way
}

// Choose returns the way for the next mail, of those up to offered. If it returns a way below
// doubted, the mail is a test of whether the server can do doubted: the caller reports a
// success by [Memory.Refute].
func (m *Memory) Choose(offered Way, now time.Time) (way, doubted Way) {
	m.mu.Lock()
	defer m.mu.Unlock()
	way = offered
	for w := offered; w > Stepwise; w-- {
		if now.Before(m.off[w]) {
			way = w - 1
		}
	}
	for w := way; w > Stepwise; w-- {
		if m.silent[w] >= mostSilent {
			m.silent[w] = 0
			return Stepwise, w
		}
	}
	return way, way
}

// Refute records that the server cannot do way. It returns false if this was known.
func (m *Memory) Refute(way Way, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := now.Before(m.off[way])
	m.off[way], m.silent[way] = now.Add(pause), 0
	return !known
}

// Silent records a new connection on which the server did not answer a mail by way.
func (m *Memory) Silent(way Way) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent[way]++
}

// Worked records that the server answered all commands of a mail by way.
func (m *Memory) Worked(way Way) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range way + 1 {
		m.silent[w] = 0
	}
}
