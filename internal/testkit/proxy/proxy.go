// Package proxy is a TCP proxy on loopback that can misbehave like a network:
// refuse, reset, freeze both ways or one, trickle, delay, and cut in the middle of
// an answer.
package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Mode is what a Proxy does with connections.
type Mode int

const (
	// Pass hands bytes on in both directions.
	Pass Mode = iota
	// Refuse resets all connections and refuses new ones.
	Refuse
	// Freeze keeps connections open, accepts new ones, and moves no byte: what a
	// peer sees of a cable that was pulled. Bytes go on when the mode changes.
	Freeze
	// FreezeAnswers forwards requests and no replies: commands are carried out, and
	// the clients do not learn of it.
	FreezeAnswers
	// FreezeRequests is the other way round.
	FreezeRequests
	// Trickle hands bytes on one by one, each after a pause.
	Trickle
)

// cutNow is a budget that is used up: the next byte cuts.
const cutNow = -1

// tricklePause stands between two bytes: an answer of a kilobyte takes seconds.
const tricklePause = 2 * time.Millisecond

// Proxy forwards connections to one address. Make one with New, and Close it.
type Proxy struct {
	addr    string
	running sync.WaitGroup

	mu       sync.Mutex
	target   string
	changed  *sync.Cond // mode, stuck or closed changed
	mode     Mode
	listener net.Listener // nil while refusing
	delay    time.Duration
	idle     time.Duration // after which a link is cut; 0: never
	budget   int           // bytes of answers until a link is cut; 0: no limit
	words    [][]byte      // of the request whose connection freezes; nil: of none
	links    map[*link]struct{}
	closed   bool
}

// link is one forwarded connection.
type link struct {
	client, server *net.TCPConn
	stuck          bool // frozen for ever, whatever the mode
	cutter         *time.Timer
}

// New listens on a free port of 127.0.0.1 and forwards to target, host:port.
func New(target string) (*Proxy, error) {
	p := &Proxy{target: target, links: make(map[*link]struct{})}
	p.changed = sync.NewCond(&p.mu)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	p.addr = p.listener.Addr().String()
	return p, nil
}

// Addr is the address that clients connect to, host:port. It never changes.
func (p *Proxy) Addr() string { return p.addr }

// Set changes the mode for all connections but the stuck ones.
func (p *Proxy) Set(mode Mode) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = mode
	p.changed.Broadcast()
	if mode == Refuse {
		if p.listener != nil {
			p.listener.Close()
			p.listener = nil
		}
		p.reset()
		return nil
	}
	if p.listener == nil {
		return p.listen(p.addr)
	}
	return nil
}

// Redirect forwards new connections to another address, and resets all that are open: a name or
// an address that moves to another machine.
func (p *Proxy) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	p.reset()
}

// Rename forwards new connections to another address, and leaves open ones: a name
// whose answer has changed.
func (p *Proxy) Rename(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Delay holds everything up for d, each way, from now on.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// CutAfter lets n more bytes of answers pass and resets the connection that the
// next one would go to, in the middle of what it says. After that all is as before.
func (p *Proxy) CutAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = n
}

// Reset cuts all connections with a TCP RST and returns their number. New ones
// are treated as the mode says.
func (p *Proxy) Reset() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reset()
}

// Stick freezes the connections that are open now for good and returns their
// number; later ones are not touched. This is how a connection looks that a
// firewall has forgotten.
func (p *Proxy) Stick() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.stuck = true
	}
	return len(p.links)
}

// StickAt lets the next request that has all words pass, and freezes its connection
// for good: it is carried out, and its reply is never delivered. [Proxy.Sticks] tells whether
// it has come.
func (p *Proxy) StickAt(words ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.words = nil
	for _, w := range words {
		p.words = append(p.words, []byte(w))
	}
}

// Sticks tells whether the request of the last StickAt has come.
func (p *Proxy) Sticks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.words == nil
}

// CutIdle resets each connection that no byte has passed for d, from now on. 0 stops that.
func (p *Proxy) CutIdle(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = d
	for l := range p.links {
		p.watch(l)
	}
}

// watch begins the idle time of a link anew; the caller holds the lock.
func (p *Proxy) watch(l *link) {
	if l.cutter != nil {
		l.cutter.Stop()
	}
	if p.idle == 0 {
		return
	}
	l.cutter = time.AfterFunc(p.idle, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, alive := p.links[l]; alive {
			p.drop(l)
		}
	})
}

// drop cuts a link; the caller holds the lock.
func (p *Proxy) drop(l *link) {
	if l.cutter != nil {
		l.cutter.Stop()
	}
	cut(l.client)
	cut(l.server)
	delete(p.links, l)
}

// Close resets everything and waits until all goroutines have ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.reset()
	p.changed.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

// listen begins to accept; the caller holds the lock.
func (p *Proxy) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("proxy to %s: %w", p.target, err)
	}
	p.listener = l
	p.running.Go(func() { p.accept(l) })
	return nil
}

// reset cuts all links; the caller holds the lock.
func (p *Proxy) reset() int {
	n := len(p.links)
	for l := range p.links {
		p.drop(l)
	}
	p.changed.Broadcast()
	return n
}

// cut closes with RST instead of FIN.
func cut(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

func (p *Proxy) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // one bad connection is not the end of the proxy
		}
		p.running.Go(func() { p.forward(conn.(*net.TCPConn)) })
	}
}

func (p *Proxy) forward(client *net.TCPConn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	conn, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		cut(client)
		return
	}
	l := &link{client: client, server: conn.(*net.TCPConn)}
	p.mu.Lock()
	if p.closed || p.mode == Refuse {
		p.mu.Unlock()
		cut(l.client)
		cut(l.server)
		return
	}
	p.links[l] = struct{}{}
	p.watch(l)
	p.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { p.pipe(l, l.client, l.server, false) })
	both.Go(func() { p.pipe(l, l.server, l.client, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	l.client.Close()
	l.server.Close()
}

// pipe moves bytes one way until either side ends.
func (p *Proxy) pipe(l *link, from, to *net.TCPConn, answers bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		data := buf[:n]
		for len(data) > 0 || n == 0 {
			step, pause, ok := p.mayMove(l, len(data), answers)
			if !ok {
				return
			}
			if pause > 0 {
				time.Sleep(pause) // the fault itself; links are reset meanwhile as ever
			}
			if n == 0 {
				break
			}
			if !answers {
				p.look(l, data[:step])
			}
			if _, err := to.Write(data[:step]); err != nil {
				from.Close()
				return
			}
			data = data[step:]
		}
		if err != nil {
			to.CloseWrite()
			return
		}
	}
}

// look freezes the answers of a link when a request is the one of StickAt.
func (p *Proxy) look(l *link, request []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.words == nil || slices.ContainsFunc(p.words, func(w []byte) bool { return !bytes.Contains(request, w) }) {
		return
	}
	p.words, l.stuck = nil, true
}

// mayMove waits while the link is frozen in that direction, and says how many of
// n bytes may move after which pause; false means that the link is gone.
func (p *Proxy) mayMove(l *link, n int, answers bool) (step int, pause time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if _, alive := p.links[l]; !alive || p.closed {
			return 0, 0, false
		}
		frozen := p.mode == Freeze || p.mode == FreezeAnswers && answers || p.mode == FreezeRequests && !answers
		if !frozen && !l.stuck {
			break
		}
		p.changed.Wait()
	}
	p.watch(l)
	step, pause = n, p.delay
	if p.mode == Trickle && n > 0 {
		step, pause = 1, pause+tricklePause
	}
	if answers && p.budget == cutNow {
		p.budget = 0
		p.drop(l)
		return 0, 0, false
	}
	if answers && p.budget > 0 {
		step = min(step, p.budget)
		if p.budget -= step; p.budget == 0 {
			p.budget = cutNow
		}
	}
	return step, pause, true
}
