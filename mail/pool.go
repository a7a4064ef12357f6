package mail

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Run keeps connections open between mails, for the next one to use, and closes
// those that are idle or old, until ctx ends. It then closes all that are idle,
// politely, and returns nil.
//
// Sending works without Run, before and after it too: each mail then has a
// connection of its own.
func (s *Sender) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return errors.New("mail: Sender.Run is running already")
	}
	s.running = true
	s.mu.Unlock()

	// Often enough that a connection outlives its time by a quarter at most.
	tick := time.NewTicker(max(min(s.cfg.IdleTimeout, s.cfg.MaxAge)/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.running = false
			rest := s.idle
			s.idle = nil
			s.mu.Unlock()
			quitAll(rest)
			return nil
		case <-tick.C:
			quitAll(s.takeExpired())
		}
	}
}

// takeIdle returns the connection that was used last, or nil. The others get
// the chance to grow old. What has grown too old already is in expired.
func (s *Sender) takeIdle() (c *session, expired []*session) {
	expired = s.takeExpired()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.idle) - 1; last >= 0 {
		c, s.idle = s.idle[last], s.idle[:last]
	}
	return c, expired
}

func (s *Sender) takeExpired() (expired []*session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.idle = slices.DeleteFunc(s.idle, func(c *session) bool {
		if !s.expired(c, now) {
			return false
		}
		expired = append(expired, c)
		return true
	})
	return expired
}

func (s *Sender) expired(c *session, now time.Time) bool {
	return c.sent >= s.cfg.MaxMessagesPerConn || now.Sub(c.born) >= s.cfg.MaxAge || now.Sub(c.used) >= s.cfg.IdleTimeout
}

// release ends the use of c for one mail. Without Run nobody would look after an
// idle connection, so it is closed here.
func (s *Sender) release(c *session, failed *SendError) {
	if c.broken {
		c.abort()
		return
	}
	c.dirty = failed != nil
	c.used = time.Now()
	s.mu.Lock()
	keep := s.running
	if keep {
		s.idle = append(s.idle, c)
	}
	s.mu.Unlock()
	if !keep {
		c.quit()
	}
}

func quitAll(sessions []*session) {
	var wg sync.WaitGroup
	for _, c := range sessions {
		wg.Go(c.quit)
	}
	wg.Wait()
}
