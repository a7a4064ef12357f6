// Package locks has nested locks of every form that the tests of the repository find.
package locks

import (
	"sync"
	"time"
)

type a struct {
	mu sync.Mutex
	b  b
	c  looker
}

type b struct {
	mu sync.RWMutex
	n  int
}

type c struct {
	mu sync.Mutex
	a  *a
}

// d calls a function that another type gives it.
type d struct {
	mu   sync.Mutex
	copy func() int
}

type config struct{ read func() int }

func newD(c config) *d { return &d{copy: c.read} }

func (x *c) d() *d { return newD(config{read: x.look}) }

// value takes the lock of c within that of d, through a function value.
func (x *d) value() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.copy()
}

type looker interface{ look() int }

func (x *b) read() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.n
}

func (x *c) look() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.a.b.n
}

// deep takes the lock of b within that of a, through another function.
func (x *a) deep() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.middle()
}

func (x *a) middle() int { return x.b.read() }

// through takes the lock of c within that of a, through an interface.
func (x *a) through() int {
	x.mu.Lock()
	n := x.c.look()
	x.mu.Unlock()
	return n
}

// early holds the lock of c where it takes that of b, though one branch gives it back.
func (x *c) early(quick bool) int {
	x.mu.Lock()
	if quick {
		x.mu.Unlock()
		return 0
	}
	defer x.mu.Unlock()
	return func() int { return x.a.b.read() }()
}

// after holds no lock where it takes those of the others.
func (x *b) after(y *a, z *c) {
	x.mu.Lock()
	x.n++
	x.mu.Unlock()
	y.deep()
	x.mu.Lock()
	go z.look()
	time.AfterFunc(0, func() { y.deep() })
	x.mu.Unlock()
}
