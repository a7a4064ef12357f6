package monitor

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxConns is the most connections of the health server at once. The tasks
	// need the file descriptors of the process.
	maxConns = 128
	// youngest is the time that a connection has for its request before a newer
	// one may replace it.
	youngest = 25 * time.Millisecond
)

// boundedListener holds up to max connections. A further one replaces the oldest
// connection without a request in progress, of the address that has the most: a
// probe is answered while others open connections and send nothing.
type boundedListener struct {
	net.Listener
	max  int
	done chan struct{} // closed by Close

	mu    sync.Mutex
	once  sync.Once
	conns map[*boundedConn]bool
}

func newBoundedListener(l net.Listener, most int) *boundedListener {
	return &boundedListener{Listener: l, max: most, done: make(chan struct{}), conns: make(map[*boundedConn]bool)}
}

// Accept implements [net.Listener].
func (l *boundedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.admit(c), nil
}

// Close implements [net.Listener].
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// admit adds a connection, and drops another one when there are too many.
func (l *boundedListener) admit(c net.Conn) net.Conn {
	for {
		surplus, wait := l.surplus()
		if surplus == nil {
			break
		}
		if wait > 0 && !l.pause(wait) {
			break // the listener is closed, and the server closes the connection
		}
		if wait <= 0 {
			surplus.Close()
		}
	}
	b := &boundedConn{Conn: c, owner: l, since: time.Now()}
	if from, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		b.from = from.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[b] = true
	return b
}

// surplus returns the connection to close before the next is admitted, and how
// long it may still stay; nil while there is room.
func (l *boundedListener) surplus() (*boundedConn, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) < l.max {
		return nil, 0
	}
	byAddress := make(map[netip.Addr]int)
	for c := range l.conns {
		byAddress[c.from]++
	}
	var first *boundedConn
	for c := range l.conns {
		if first == nil || c.before(first, byAddress) {
			first = c
		}
	}
	return first, youngest - time.Since(first.since)
}

// pause waits, and reports whether the listener is still open.
func (l *boundedListener) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.done:
		return false
	}
}

// boundedConn is a connection of a [boundedListener].
type boundedConn struct {
	net.Conn
	owner *boundedListener
	from  netip.Addr

	// Guarded by owner.mu.
	since time.Time // of the last request, or of the connection
	busy  bool      // a request is being answered
}

// before reports whether c must go before other.
func (c *boundedConn) before(other *boundedConn, byAddress map[netip.Addr]int) bool {
	if c.busy != other.busy {
		return other.busy
	}
	if n, m := byAddress[c.from], byAddress[other.from]; n != m {
		return n > m
	}
	return c.since.Before(other.since)
}

// Close implements [net.Conn].
func (c *boundedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.conns, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

func (c *boundedConn) setBusy(busy bool) {
	c.owner.mu.Lock()
	defer c.owner.mu.Unlock()
	c.busy, c.since = busy, time.Now()
}

type connKey struct{}

// withConn is the ConnContext of the server.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// markBusy keeps a connection while its request is answered.
func markBusy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if c, ok := req.Context().Value(connKey{}).(*boundedConn); ok {
			c.setBusy(true)
			defer c.setBusy(false)
		}
		next.ServeHTTP(w, req)
	})
}
