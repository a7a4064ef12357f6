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
	// patience is how long a new subscriber waits until it tells of a gap before it, in proofs:
	// another one may not have told yet that it has listened meanwhile.
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
	for ctx.Err() == nil {
		began := time.Now()
		err := f.session(ctx, s)
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

// session listens over one connection until it breaks.
func (f *Feed) session(ctx context.Context, s Subscription) error {
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
	ps := redigo.PubSubConn{Conn: rc}
	channels := make([]any, len(s.Channels))
	for i, c := range s.Channels {
		channels[i] = c
	}
	if err := ps.Subscribe(channels...); err != nil {
		return err
	}
	err = f.receive(ctx, ps, s, &pinger)
	if conn.IsForbidden(err) {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return err
}

// ErrForbidden says that the user of the server may not subscribe to the channels.
var ErrForbidden = errors.New("the Redis user lacks a right")

// receive receives messages until the connection breaks.
func (f *Feed) receive(ctx context.Context, ps redigo.PubSubConn, s Subscription, pinger *sync.WaitGroup) error {
	confirmed, pongs := 0, make(chan time.Duration, 1)
	for {
		switch v := ps.ReceiveWithTimeout(silenceMost * s.Every).(type) {
		case error:
			return v
		case redigo.Message:
			s.Message(v.Channel, v.Data)
		case redigo.Pong:
			if at, err := strconv.ParseInt(v.Data, 10, 64); err == nil {
				select {
				case pongs <- time.Duration(at):
				default: // the one before is enough
				}
			}
		case redigo.Subscription:
			if confirmed++; confirmed == len(s.Channels) {
				s.Joined()
				pinger.Go(func() { f.prove(ctx, ps, s, pongs) })
			}
		}
	}
}

// prove pings the server, and notes until when this subscriber has listened. pongs are the times
// of the pings that were answered, since the first moment of prove.
func (f *Feed) prove(ctx context.Context, ps redigo.PubSubConn, s Subscription, pongs <-chan time.Duration) {
	from, err := f.now(ctx)
	began := time.Now()
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-pongs:
			if err != nil {
				if from, err = f.now(ctx); err == nil {
					began = time.Now()
				}
				continue // this pong is of the time before
			}
			h, fault := f.heard(ctx, s.Name, from, from.Add(at), at >= patience*s.Every)
			if fault == nil {
				s.Heard(h)
			} else if ctx.Err() == nil {
				f.log.Debug("a subscription could not be noted", "name", s.Name, "error", fault)
			}
		case <-tick.C:
			if ps.Ping(strconv.FormatInt(int64(time.Since(began)), 10)) != nil {
				return // the reader sees it too
			}
		}
	}
}

// now returns the time of the server.
func (f *Feed) now(ctx context.Context) (now time.Time, err error) {
	err = f.conns.Do(ctx, func(c redigo.Conn) error {
		parts, err := redigo.Int64s(c.Do("TIME"))
		if err != nil {
			return err
		}
		if len(parts) != 2 {
			return fmt.Errorf("TIME has %d parts", len(parts))
		}
		now = time.Unix(parts[0], parts[1]*1000)
		return nil
	})
	return now, err
}

// heard notes that this subscriber has listened from one time to another.
func (f *Feed) heard(ctx context.Context, name string, from, to time.Time, tells bool) (h Heard, err error) {
	told := 0
	if tells {
		told = 1
	}
	err = f.conns.Do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.Int64s(f.scripts.Heard().Do(c, 1, f.prefix+"heard."+name, from.UnixMilli(), to.UnixMilli(), told))
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
	return h, nil
}
