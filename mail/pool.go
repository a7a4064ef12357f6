package mail

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Run keeps connections open between mails and closes idle and old ones, until ctx ends. Then
// it closes all idle connections with QUIT and returns nil.
//
// Sending also works without Run, before it and after it. Each mail then has a separate
// connection.
func (s *Sender) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return errors.New("mail: Sender.Run is already running")
	}
	s.running = true
	s.mu.Unlock()

	// So often that a connection exceeds its time by at most a quarter.
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

// takeIdle returns the connection that was used last, or nil, so that unneeded ones expire.
// expired holds the connections that the caller must close.
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

// expired reports whether c must not be used any more. s.mu must be held.
func (s *Sender) expired(c *session, now time.Time) bool {
	return c.born.Before(s.renewed) || c.sent >= s.cfg.MaxMessagesPerConn || now.Sub(c.born) >= s.cfg.MaxAge || now.Sub(c.used) >= s.cfg.IdleTimeout
}

// release ends the use of c for one mail. It closes c if Run, which closes idle connections,
// is not running.
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
