package tasks

import (
	"context"
	"sync"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker/broker"
)

// A domain without a rate in Limits gets one when its server defers mails for their rate, or its
// relay does: half of what the workers have sent there lately. The broker holds it. It recovers
// by a tenth a minute, and ends at twice that rate.

const (
	// slowedNotice is the name of the notice on the board that some domain is slowed down.
	slowedNotice = "mail.slowed"
	// slowedFor is how long a rate needs at most to recover.
	slowedFor = 20 * time.Minute
	// slowedLook is the time between two looks at the notice.
	slowedLook = time.Second

	// seenSpan is the time in which accepted mails are counted, seenPart a part of it that is
	// forgotten as a whole, and seenLeast the shortest time that a rate is computed over.
	seenSpan, seenPart, seenLeast = time.Minute, 10 * time.Second, time.Second
	// seenFew is the number of mails in seenSpan that are too few to be too many. Their
	// deferral has another cause than their rate.
	seenFew = 10
	// seenDomains bounds the domains that are counted.
	seenDomains = 10_000
)

// slow slows down the domain of a recipient whose server, or whose relay, defers mails to it.
// A fault before the first command about the recipient says nothing about the domain.
func (l *limiter) slow(ctx context.Context, a *attempt, e *mail.SendError) {
	if !concernsMail(e) || l.Admitter == nil || e.Command == "MAIL" {
		return
	}
	name, _, hasRate := l.domainLimit(a.to)
	one := broker.Slowing{Caller: l.caller}
	if !hasRate {
		if one.Every = l.seen.every(domain(a.to), l.now()); one.Every == 0 {
			return
		}
	}
	bulk := one
	one.Limit, bulk.Limit, bulk.Every = name, name+".bulk", time.Duration(float64(one.Every)/bulkShare)
	for _, s := range []broker.Slowing{one, bulk} {
		share, slowed, err := l.Admitter.Slow(context.WithoutCancel(ctx), s)
		if err != nil || !slowed {
			continue
		}
		if !hasRate {
			l.announce(ctx)
		}
		a.log.WarnContext(ctx, "rate of a domain halved: its server defers mails", "domain", domain(a.to), "limit", s.Limit, "share", share, "code", e.Code)
	}
}

// announce tells all workers that a domain is slowed down.
func (l *limiter) announce(ctx context.Context) {
	l.notice.set(l.now())
	if l.Board != nil {
		_ = l.Board.Post(context.WithoutCancel(ctx), slowedNotice, []byte("1"), slowedFor) // without it the others find out themselves
	}
}

// isSlowed reports whether any domain without a rate may be slowed down.
func (l *limiter) isSlowed(ctx context.Context) bool {
	now := l.now()
	if l.Admitter == nil {
		return false
	}
	if l.Board != nil && l.notice.isDue(now) {
		if found, err := l.Board.Posted(ctx, slowedNotice); err == nil && len(found) == 1 && found[0] != nil {
			l.notice.set(now)
		}
	}
	return l.notice.holds(now)
}

// notice remembers that some domain is slowed down. Its methods may be called by several
// goroutines.
type notice struct {
	mu    sync.Mutex
	until time.Time // zero: none is
	next  time.Time // when to look again
}

// set notes that a domain is slowed down.
func (n *notice) set(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.until = now.Add(slowedFor)
}

// holds reports whether a domain may be slowed down.
func (n *notice) holds(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return now.Before(n.until)
}

// isDue reports whether it is time to look, for one of the callers.
func (n *notice) isDue(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Before(n.next) {
		return false
	}
	n.next = now.Add(slowedLook)
	return true
}

// seen counts the mails that were accepted, by the domain of the recipient. Its methods may be
// called by several goroutines.
type seen struct {
	mu      sync.Mutex
	domains map[string]*passed
	swept   time.Time
}

// passed counts the mails to one domain in the parts of the last seenSpan.
type passed struct {
	first time.Time // mail since there was none for seenSpan
	last  time.Time // mail
	at    time.Time // up to which parts counts
	parts [seenSpan / seenPart]int
}

// note notes a mail that was accepted.
func (s *seen) note(domain string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.domains[domain]
	if p == nil {
		if len(s.domains) >= seenDomains && !s.sweep(now) {
			return
		}
		if s.domains == nil {
			s.domains = map[string]*passed{}
		}
		p = &passed{}
		s.domains[domain] = p
	}
	p.forget(now)
	if now.Sub(p.last) > seenSpan {
		p.first = now
	}
	p.last = now
	p.parts[part(now)]++
}

// every returns the time between two mails to a domain lately, 0 if they were few.
func (s *seen) every(domain string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.domains[domain]
	if p == nil {
		return 0
	}
	p.forget(now)
	n := 0
	for _, count := range p.parts {
		n += count
	}
	if n < seenFew {
		return 0
	}
	return min(max(now.Sub(p.first), seenLeast), seenSpan) / time.Duration(n)
}

// sweep removes the domains that got no mail lately. It reports whether there is room.
func (s *seen) sweep(now time.Time) bool {
	if now.Sub(s.swept) < seenPart {
		return false
	}
	s.swept = now
	for domain, p := range s.domains {
		if now.Sub(p.last) > seenSpan {
			delete(s.domains, domain)
		}
	}
	return len(s.domains) < seenDomains
}

// part returns the part that a time belongs to.
func part(at time.Time) int {
	return int(at.UnixNano() / int64(seenPart) % int64(seenSpan/seenPart))
}

// forget removes the parts that have passed.
func (p *passed) forget(now time.Time) {
	if now.Sub(p.at) >= seenSpan {
		p.parts = [len(p.parts)]int{}
	} else if now.After(p.at) {
		for i := part(p.at); i != part(now); {
			i = (i + 1) % len(p.parts)
			p.parts[i] = 0
		}
	}
	if now.After(p.at) {
		p.at = now
	}
}
