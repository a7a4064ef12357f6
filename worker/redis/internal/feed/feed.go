// Package feed listens to channels of PUBLISH, which keep nothing: a message that no subscriber
// hears is lost. It finds the periods in which none listened.
package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/scripts"
)

// Times of a subscription.
const (
	// proveEvery is the default of Subscription.Every.
	proveEvery = 2 * time.Second
	// silenceMost is how long the server may be silent, in proofs.
	silenceMost = 4
	// patience is how long after a gap it is told, in proofs: another subscriber may not have told
	// yet that it has listened meanwhile.
	patience = 3
	// stable is how long a connection must have worked for the pause before the next one to be
	// short again.
	stable = time.Minute
)

// Feed subscribes to channels. Make one with New.
type Feed struct {
	conns   *conn.Conns
	scripts *scripts.Scripts
	prefix  string
	log     *slog.Logger
}

// New returns a Feed whose keys begin with prefix. Channels have no prefix: their publishers
// choose them.
func New(conns *conn.Conns, s *scripts.Scripts, prefix string, log *slog.Logger) *Feed {
	return &Feed{conns: conns, scripts: s, prefix: prefix, log: log}
}

// Subscription describes what a subscriber listens to. Its functions must return quickly: a
// server drops the connection of a subscriber that does not read.
type Subscription struct {
	// Name is that of all subscribers that stand in for each other. They must have the same
	// Channels.
	Name     string
	Channels []string

	// Every is how often a subscriber proves that its connection works, by a PING. All that was
	// published before the server took the PING has arrived before the answer. Default: 2 s.
	Every time.Duration

	// Message is called for each message.
	Message func(channel string, raw []byte)
	// Joined is called when messages begin to arrive, again after each break. Left is called
	// when a connection broke, or could not be made.
	Joined func()
	Left   func(err error)
	// Heard is called from time to time with what is known of the gaps.
	Heard func(Heard)
}

// Heard tells of the periods in which no subscriber of a name has listened.
type Heard struct {
	New  bool          // the last one was found just now. One subscriber of all is told so.
	Gaps int64         // of all subscribers, as far back as the server remembers
	Lost time.Duration // length of all gaps
	// From and To are the begin and the end of the last gap, by the clock of the server. Zero:
	// there was none.
	From, To time.Time
}

// Subscribe listens until ctx ends, and returns nil then. It connects again when the connection
// breaks.
func (f *Feed) Subscribe(ctx context.Context, s Subscription) error {
	s.Every = cmp.Or(s.Every, proveEvery)
	var pause backoff.Backoff
	var until time.Time
	var idle conn.Idle
	for ctx.Err() == nil {
		began := time.Now()
		err := f.session(ctx, s, &until, &idle)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > stable {
			pause.Reset()
		}
		s.Left(err)
		pause.Wait(ctx)
	}
	return nil
}

// session listens over one connection until it breaks. until is the time of the server until which
// this subscriber has noted that it has listened, the zero time before the first note.
func (f *Feed) session(ctx context.Context, s Subscription, until *time.Time, idle *conn.Idle) error {
	rc, err := f.conns.Dial(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var pinger sync.WaitGroup
	defer func() {
		cancel()
		rc.Close()
		pinger.Wait()
	}()
	stop := context.AfterFunc(ctx, func() { rc.Close() })
	defer stop()
	p := prover{feed: f, s: s, every: idle.Most(s.Every), until: until, earlier: *until, idle: idle, pongs: make(chan time.Time, 1)}
	if err := p.clock.read(ctx, rc); err != nil && !conn.IsForbidden(err) {
		return err
	}
	ps := redigo.PubSubConn{Conn: rc}
	channels := make([]any, len(s.Channels))
	for i, c := range s.Channels {
		channels[i] = c
	}
	if err := ps.Subscribe(channels...); err != nil {
		return err
	}
	err = p.receive(ctx, ps, &pinger)
	if conn.IsForbidden(err) {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return err
}

// ErrForbidden says that the user of the server may not subscribe to the channels.
var ErrForbidden = errors.New("the Redis user lacks a right")

// clock tells the time of the server by the time here since it was asked.
type clock struct {
	asked, answered time.Time // here
	server          time.Time // zero: the user may not ask, so that gaps are not found
}

// read asks the server.
func (c *clock) read(ctx context.Context, rc redigo.Conn) error {
	c.asked = time.Now()
	parts, err := redigo.Int64s(redigo.DoContext(rc, ctx, "TIME"))
	if err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("TIME has %d parts", len(parts))
	}
	c.answered, c.server = time.Now(), time.Unix(parts[0], parts[1]*1000)
	return nil
}

// latest and earliest return bounds of the time of the server at a moment here.
func (c *clock) latest(at time.Time) time.Time   { return c.server.Add(at.Sub(c.asked)) }
func (c *clock) earliest(at time.Time) time.Time { return c.server.Add(at.Sub(c.answered)) }

// prover notes until when a subscriber has listened over one connection.
type prover struct {
	feed    *Feed
	s       Subscription
	every   time.Duration // s.Every, or less if the connection must not be idle for so long
	clock   clock
	joined  time.Time  // here
	until   *time.Time // of the last note
	earlier time.Time  // until, as the connection before has left it
	idle    *conn.Idle
	pongs   chan time.Time // times here of the pings that were answered; capacity 1
}

// receive receives messages until the connection breaks.
func (p *prover) receive(ctx context.Context, ps redigo.PubSubConn, pinger *sync.WaitGroup) error {
	confirmed := 0
	for {
		began := time.Now()
		switch v := ps.ReceiveWithTimeout(silenceMost * p.s.Every).(type) {
		case error:
			p.idle.IsCut(v, time.Since(began), p.every)
			return v
		case redigo.Message:
			p.s.Message(v.Channel, v.Data)
		case redigo.Pong:
			if after, err := strconv.ParseInt(v.Data, 10, 64); err == nil {
				select {
				case p.pongs <- p.joined.Add(time.Duration(after)):
				default: // the one before is enough
				}
			}
		case redigo.Subscription:
			if confirmed++; confirmed == len(p.s.Channels) {
				p.joined = time.Now()
				p.s.Joined()
				pinger.Go(func() { p.run(ctx, ps) })
			}
		}
	}
}

// run pings the server, and notes until when this subscriber has listened.
func (p *prover) run(ctx context.Context, ps redigo.PubSubConn) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-p.pongs:
			if p.clock.server.IsZero() || !p.clock.latest(p.joined).Before(p.clock.earliest(at)) {
				continue // or the server took seconds to tell the time
			}
			h, err := p.note(ctx, at)
			if err == nil {
				p.s.Heard(h)
			} else if ctx.Err() == nil {
				p.feed.log.Debug("a subscription could not be noted", "name", p.s.Name, "error", err)
			}
		case <-tick.C:
			if ps.Ping(strconv.FormatInt(int64(time.Since(p.joined)), 10)) != nil {
				return // the reader sees it too
			}
		}
	}
}

// note notes that this subscriber has listened until a moment here.
func (p *prover) note(ctx context.Context, at time.Time) (h Heard, err error) {
	f, from, to, earlier := p.feed, p.clock.latest(p.joined), p.clock.earliest(at), int64(0)
	if !p.earlier.IsZero() {
		earlier = p.earlier.UnixMilli()
	}
	err = f.conns.Do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.Int64s(f.scripts.Heard().Do(c, 1, f.prefix+"heard."+p.s.Name,
			from.UnixMilli(), to.UnixMilli(), (patience * p.s.Every).Milliseconds(), earlier))
		if err != nil {
			return err
		}
		if len(reply) != 5 {
			return fmt.Errorf("the script has returned %d numbers", len(reply))
		}
		h = Heard{New: reply[0] == 1, Gaps: reply[1], Lost: time.Duration(reply[2]) * time.Millisecond}
		if reply[4] > 0 {
			h.From, h.To = time.UnixMilli(reply[3]), time.UnixMilli(reply[4])
		}
		return nil
	})
	if err != nil {
		return Heard{}, fmt.Errorf("note a subscription: %w", err)
	}
	*p.until = to
	return h, nil
}
