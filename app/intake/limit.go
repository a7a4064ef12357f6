package intake

import (
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// limitedListener holds a limited number of connections, in all and of one host, and closes
// each after its longest time.
type limitedListener struct {
	net.Listener
	log        *slog.Logger
	ofHostMost int           // connections of one host at once
	refusal    string        // what a connection above the limits gets
	probation  time.Duration // of a connection, until it is of use

	mu     sync.Mutex
	open   map[*limitedConn]struct{}
	ofHost map[string]int
	closed bool
	logged time.Time // when a refusal or a fault was last logged
}

func newLimitedListener(l net.Listener, log *slog.Logger) *limitedListener {
	return &limitedListener{
		Listener: l, log: log, ofHostMost: mostConnsOfHost, probation: longestProbation, refusal: "421 4.7.0 Too many connections, try again later\r\n",
		open: map[*limitedConn]struct{}{}, ofHost: map[string]int{},
	}
}

// Accept implements [net.Listener]. A connection above the limits gets a reply that asks it to
// come later.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := l.admit(c); admitted != nil {
			return admitted, nil
		}
		l.logOften("connection for bounces refused, there are too many", "remote", host(c))
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte(l.refusal))
		_ = c.Close()
	}
}

// admit returns the connection, nil if it is above the limits.
func (l *limitedListener) admit(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := host(c)
	if l.closed || len(l.open) >= mostConns || l.ofHost[from] >= l.ofHostMost {
		return nil
	}
	admitted := &limitedConn{Conn: c, of: l, from: from}
	admitted.timer = time.AfterFunc(l.probation, func() { admitted.Close() })
	l.open[admitted] = struct{}{}
	l.ofHost[from]++
	return admitted
}

// drain closes the port; open connections go on.
func (l *limitedListener) drain() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.Listener.Close()
}

// closeAll closes all connections.
func (l *limitedListener) closeAll() {
	l.mu.Lock()
	open := make([]*limitedConn, 0, len(l.open))
	for c := range l.open {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

func (l *limitedListener) remove(c *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.ofHost[c.from]--; l.ofHost[c.from] == 0 {
		delete(l.ofHost, c.from)
	}
}

// logOften logs at most once in ten seconds: others decide how often it happens.
func (l *limitedListener) logOften(event string, facts ...any) {
	const pause = 10 * time.Second
	l.mu.Lock()
	now := time.Now()
	due := now.Sub(l.logged) > pause
	if due {
		l.logged = now
	}
	l.mu.Unlock()
	if due {
		l.log.Warn(event, facts...)
	}
}

// trust gives a connection its longest time, because it is of use. It counts once.
func (l *limitedListener) trust(c net.Conn) {
	if encrypted, ok := c.(*tls.Conn); ok {
		c = encrypted.NetConn()
	}
	if limited, ok := c.(*limitedConn); ok && limited.trusted.CompareAndSwap(false, true) {
		limited.timer.Reset(longestSession)
	}
}

// limitedConn removes itself from its listener when it is closed.
type limitedConn struct {
	net.Conn
	of      *limitedListener
	from    string
	timer   *time.Timer
	trusted atomic.Bool
}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	c.timer.Stop()
	c.of.remove(c)
	return c.Conn.Close()
}
