package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Times of [hangs].
const (
	askTimeout = 1500 * time.Millisecond // of one question whether a server is there
	firstPause = time.Second             // between two questions to a server that hangs
	mostPause  = 5 * time.Second
	slice      = 50 * time.Millisecond // of a read that waits for the answer to the question
)

// HangError is the error of a call to a server that takes connections and answers nothing, or
// whose packets get lost. It is a [net.Error] of a timeout.
type HangError struct{ Since time.Time }

func (e *HangError) Error() string {
	return fmt.Sprintf("the database has not answered since %s, and is asked again every %g s", e.Since.UTC().Format(time.TimeOnly+" UTC"), mostPause.Seconds())
}

// Timeout makes it a [net.Error], with Temporary.
func (*HangError) Timeout() bool { return true }

// Temporary returns true: the server is asked again.
func (*HangError) Temporary() bool { return true }

// Is makes it a [context.DeadlineExceeded].
func (*HangError) Is(target error) bool { return target == context.DeadlineExceeded }

// hangs remembers which servers hang, so that one caller waits for each of them and the others
// learn it at once. A server is under suspicion when a read or a dial has waited for some time.
// It is then asked, over a separate connection, whether it is there. A slow query on a server
// that answers is left alone.
type hangs struct {
	after time.Duration // without an answer until a server is under suspicion

	life context.Context
	stop context.CancelFunc
	asks sync.WaitGroup

	mu      sync.Mutex
	servers map[string]*server
}

func newHangs(after time.Duration) *hangs {
	h := &hangs{after: after, servers: make(map[string]*server)}
	h.life, h.stop = context.WithCancel(context.Background())
	return h
}

// close ends the questions. A nil hangs has none.
func (h *hangs) close() {
	if h == nil {
		return
	}
	h.mu.Lock()
	h.stop()
	h.mu.Unlock()
	h.asks.Wait()
}

// server returns what is known about an address; nil: nothing is remembered.
func (h *hangs) server(network, address string) *server {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.servers[network+" "+address]
	if s == nil {
		s = &server{hangs: h, network: network, address: address}
		h.servers[network+" "+address] = s
	}
	return s
}

// server is a server that may hang. A nil server never does.
type server struct {
	hangs            *hangs
	network, address string

	// Guarded by hangs.mu.
	asked time.Time // the end of the last question
	busy  bool      // it is being asked
	since time.Time // it hangs; zero: it answers
}

// hung returns a [HangError] if the server hangs.
func (s *server) hung() error {
	if s == nil {
		return nil
	}
	s.hangs.mu.Lock()
	defer s.hangs.mu.Unlock()
	if s.since.IsZero() {
		return nil
	}
	return &HangError{s.since}
}

// suspect has the server asked, unless it is being asked or was a moment ago.
func (s *server) suspect() {
	s.hangs.mu.Lock()
	defer s.hangs.mu.Unlock()
	if s.busy || time.Since(s.asked) < s.hangs.after || s.hangs.life.Err() != nil {
		return
	}
	s.busy = true
	s.hangs.asks.Go(s.ask)
}

// ask asks until the server answers.
func (s *server) ask() {
	began := time.Now().Add(-s.hangs.after)
	pause := firstPause
	for !s.answers() && s.hangs.life.Err() == nil {
		s.set(began)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.hangs.life.Done():
			timer.Stop()
		}
		pause = min(2*pause, mostPause)
	}
	s.hangs.mu.Lock()
	defer s.hangs.mu.Unlock()
	s.since, s.busy, s.asked = time.Time{}, false, time.Now()
}

func (s *server) set(since time.Time) {
	s.hangs.mu.Lock()
	defer s.hangs.mu.Unlock()
	s.since = since
}

// answers asks the server whether it speaks TLS, which needs no login and leaves no line in its
// log. Any answer will do, also a refused connection: what hangs gives none.
func (s *server) answers() bool {
	ctx, cancel := context.WithTimeout(s.hangs.life, askTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, s.network, s.address)
	if err != nil {
		return !isTimeout(err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	const length, sslRequest = 8, 80877103
	question := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, length), sslRequest)
	if _, err = c.Write(question); err == nil {
		_, err = c.Read(question[:1])
	}
	return !isTimeout(err)
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// dial dials, unless the server hangs.
func (s *server) dial(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	if s == nil {
		return d.DialContext(ctx, network, address)
	}
	if err := s.hung(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	defer time.AfterFunc(s.hangs.after, s.suspect).Stop()
	return d.DialContext(ctx, network, address)
}

// read reads from a connection to the server until a deadline, or until it is known to hang.
func (s *server) read(c net.Conn, p []byte, deadline time.Time) (int, error) {
	wait := s.hangs.after
	for {
		until := time.Now().Add(wait)
		last := !until.Before(deadline)
		if last {
			until = deadline
		}
		if err := c.SetReadDeadline(until); err != nil {
			return 0, err
		}
		n, err := c.Read(p)
		if n > 0 || last || !isTimeout(err) {
			return n, err
		}
		if err := s.hung(); err != nil {
			// The driver drops connections with this kind of error.
			return 0, &net.OpError{Op: "read", Net: s.network, Err: err}
		}
		s.suspect()
		wait = slice
	}
}
