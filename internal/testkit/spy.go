package testkit

import (
	"encoding/base64"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Spy hears all that is published in Redis. Make one with Listen.
type Spy struct {
	mu    sync.Mutex
	heard []Heard
}

// Heard is one message that was published, with what it holds in base64 beside it.
type Heard struct{ Channel, Text string }

// Listen makes a spy, which listens until the test ends, also when Redis was away
// meanwhile.
func Listen(t T, r *Redis) *Spy {
	t.Helper()
	s, ready, done := &Spy{}, make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var conn redis.Conn
	closed := false
	go func() {
		defer close(done)
		first := sync.OnceFunc(func() { close(ready) })
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ; ; <-tick.C {
			c, err := redis.Dial("tcp", r.Addr(), redis.DialConnectTimeout(2*time.Second), redis.DialWriteTimeout(2*time.Second))
			mu.Lock()
			if closed {
				mu.Unlock()
				if err == nil {
					c.Close()
				}
				return
			}
			conn = c
			mu.Unlock()
			if err == nil {
				s.hear(redis.PubSubConn{Conn: c}, first)
				c.Close()
			}
		}
	}()
	t.Cleanup(func() {
		mu.Lock()
		closed = true
		if conn != nil {
			conn.Close()
		}
		mu.Unlock()
		<-done
	})
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatalf("not within 30s: subscribed to all channels")
	}
	return s
}

// hear listens until the connection breaks.
func (s *Spy) hear(sub redis.PubSubConn, subscribed func()) {
	if sub.PSubscribe("*") != nil {
		return
	}
	for {
		switch m := sub.ReceiveWithTimeout(0).(type) {
		case redis.Subscription:
			subscribed()
		case redis.Message:
			s.mu.Lock()
			s.heard = append(s.heard, Heard{m.Channel, Unfold(string(m.Data))})
			s.mu.Unlock()
		case error:
			return
		}
	}
}

// Heard returns all that was published so far.
func (s *Spy) Heard() []Heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[:len(s.heard):len(s.heard)]
}

// Text returns all that was published so far, a line for each message.
func (s *Spy) Text() string {
	var b strings.Builder
	for _, h := range s.Heard() {
		b.WriteString(h.Channel + " " + h.Text + "\n")
	}
	return b.String()
}

var folded = regexp.MustCompile(`[A-Za-z0-9+/]{16,}={0,2}`)

// Unfold returns a text and, behind it, what its parts in base64 stand for: bodies
// of messages are written so.
func Unfold(text string) string {
	var b strings.Builder
	b.WriteString(text)
	for _, part := range folded.FindAllString(text, -1) {
		if plain, err := base64.StdEncoding.DecodeString(part); err == nil {
			b.WriteByte(' ')
			b.Write(plain)
		}
	}
	return b.String()
}
