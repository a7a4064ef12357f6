package redis_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// backlogged is a consumer that holds 3n messages of a backlog, and knows what is next.
func backlogged(t *testing.T, n, more int) (c redigo.Conn, w *consumer, held []broker.Delivery, next []string) {
	t.Helper()
	s := redistest.Start(t)
	c = s.Conn(0)
	for i := range 3*n + more {
		id := send(t, c, "q", "t", "[]")
		if i >= 3*n {
			next = append(next, id)
		}
	}
	w = newConsumer(t, redis.Config{URL: s.URL(0)})
	redis.SetPatience(w.Broker, time.Minute, time.Minute)
	for range 3 { // until it looks ahead, and Redis knows the scripts
		held = append(held, w.claim(t, n)...)
	}
	if len(held) != 3*n {
		t.Fatalf("%d messages were claimed, want %d", len(held), 3*n)
	}
	return c, w, held, next
}

type claimedAfter struct {
	ds    []broker.Delivery
	asked int
	err   error
}

// settleAfter settles as soon as a claim is ready to go along.
func settleAfter(t *testing.T, w *consumer, max, ends int, ds []broker.Delivery) ([]error, claimedAfter) {
	t.Helper()
	ready, got := make(chan struct{}), make(chan claimedAfter, 1)
	go func() {
		var c claimedAfter
		c.ds, c.asked, c.err = w.ClaimAfter(context.Background(), max, ends, func() { close(ready) })
		got <- c
	}()
	select {
	case <-ready:
	case c := <-got:
		return nil, c
	}
	var settlements []broker.Settlement
	for _, d := range ds {
		settlements = append(settlements, succeeds(d, "1"))
	}
	return w.SettleAll(t.Context(), settlements), <-got
}

func idsOf(t *testing.T, ds []broker.Delivery) (ids []string) {
	t.Helper()
	for _, d := range ds {
		ids = append(ids, must(protocol.ParseEnvelope(d.Raw))(t).ID)
	}
	return ids
}

// A claim goes along with the deliveries that end, takes as many as these were, and holds
// no more than before.
func TestClaimAfter(t *testing.T) {
	c, w, held, next := backlogged(t, 4, 40)
	if err := settled(w.Settle(t.Context(), succeeds(held[11], "1"))); err != nil { // Redis knows that script, too
		t.Fatal(err)
	}
	do(t, c, "CONFIG", "RESETSTAT")
	errs, got := settleAfter(t, w, 0, 4, held[:3])
	if errors.Join(errs...) != nil || got.err != nil || got.asked != 3 || !slices.Equal(idsOf(t, got.ds), next[:3]) {
		t.Fatalf("settled %v; claimed %d of %d, %v", errs, len(got.ds), got.asked, got.err)
	}
	if n := calls(t, c, "evalsha"); n != 2 {
		t.Errorf("%d scripts, want 2", n)
	}
	errs, got = settleAfter(t, w, 2, 1, held[3:5]) // two that were not asked for
	if errors.Join(errs...) != nil || got.err != nil || got.asked != 3 || !slices.Equal(idsOf(t, got.ds), next[3:6]) {
		t.Fatalf("settled %v; claimed %d of %d, %v", errs, len(got.ds), got.asked, got.err)
	}
	if n := count(t, c, "HLEN", "unacked"); n != 12 {
		t.Errorf("%d are unacknowledged, want 12", n)
	}
	seen := map[string]bool{}
	for _, d := range slices.Concat(held, got.ds) {
		if seen[d.Claim] {
			t.Errorf("claim %s was given twice", d.Claim)
		}
		seen[d.Claim] = true
	}
}

// Nothing ends: after a moment the claim gives up, and what it has looked at is still
// there to be claimed.
func TestClaimAfterNothing(t *testing.T) {
	c, w, _, next := backlogged(t, 4, 8)
	redis.SetPatience(w.Broker, time.Minute, time.Millisecond)
	ds, asked, err := w.ClaimAfter(t.Context(), 2, 4, func() {})
	if len(ds) != 0 || asked != 0 || err != nil {
		t.Errorf("claimed %d of %d, %v", len(ds), asked, err)
	}
	if got := idsOf(t, w.claim(t, 4)); !slices.Equal(got, next[:4]) {
		t.Errorf("claimed %v, want %v", got, next[:4])
	}
	if n := count(t, c, "HLEN", "unacked"); n != 16 {
		t.Errorf("%d are unacknowledged, want 16", n)
	}
}

// Redis has forgotten its scripts: both are sent anew.
func TestClaimAfterScriptFlush(t *testing.T) {
	c, w, held, next := backlogged(t, 4, 40)
	if err := settled(w.Settle(t.Context(), succeeds(held[11], "1"))); err != nil {
		t.Fatal(err)
	}
	do(t, c, "SCRIPT", "FLUSH")
	errs, got := settleAfter(t, w, 0, 4, held[:4])
	if errors.Join(errs...) != nil || got.err != nil || !slices.Equal(idsOf(t, got.ds), next[:4]) {
		t.Errorf("settled %v; claimed %d of %d, %v", errs, len(got.ds), got.asked, got.err)
	}
}

// One of the two is refused: the other is carried out all the same.
func TestClaimAfterRefused(t *testing.T) {
	for _, right := range []string{"set", "lrange"} {
		t.Run(right, func(t *testing.T) {
			c, w, held, _ := backlogged(t, 4, 40)
			if err := settled(w.Settle(t.Context(), succeeds(held[11], "1"))); err != nil {
				t.Fatal(err)
			}
			do(t, c, "ACL", "SETUSER", "default", "-"+right)
			errs, got := settleAfter(t, w, 0, 4, held[:4])
			do(t, c, "ACL", "SETUSER", "default", "+"+right)
			if (errors.Join(errs...) != nil) != (right == "set") || (got.err != nil) != (right == "lrange") {
				t.Errorf("settled %v; claimed %d, %v", errs, len(got.ds), got.err)
			}
			want := 7 // of eleven four have ended
			if right == "set" {
				want = 15 // and else four were claimed
			}
			if n := count(t, c, "HLEN", "unacked"); n != want {
				t.Errorf("%d are unacknowledged, want %d", n, want)
			}
		})
	}
}

// The connection breaks between the scripts and their answers: nothing is lost, and what
// the claim has taken unseen goes back.
func TestClaimAfterBreak(t *testing.T) {
	const n = 4
	s := redistest.Start(t)
	c := s.Conn(0)
	var next []string
	for i := range 3*n + 40 {
		if id := send(t, c, "q", "t", "[]"); i >= 3*n {
			next = append(next, id)
		}
	}
	p := startDeafProxy(t, s.Addr)
	w := newConsumer(t, redis.Config{URL: "redis://" + p.addr + "/0"})
	redis.SetPatience(w.Broker, time.Minute, time.Minute)
	var held []broker.Delivery
	for range 3 {
		held = append(held, w.claim(t, n)...)
	}
	if err := settled(w.Settle(t.Context(), succeeds(held[11], "1"))); err != nil {
		t.Fatal(err)
	}
	p.deaf.Store(true)
	errs, got := settleAfter(t, w, 0, n, held[:n])
	p.deaf.Store(false)
	if got.err == nil || len(got.ds) != 0 || errors.Join(errs...) == nil {
		t.Errorf("settled %v; claimed %d, %v", errs, len(got.ds), got.err)
	}
	if held := count(t, c, "HLEN", "unacked"); held != 3*n-1 {
		t.Fatalf("%d are unacknowledged, want %d: the scripts have not run, and this proves nothing", held, 3*n-1)
	}
	if err := errors.Join(w.SettleAll(t.Context(), []broker.Settlement{succeeds(held[0], "1")})...); !errors.Is(err, broker.ErrLost) {
		t.Errorf("settled again: %v", err)
	}
	var ids []string
	eventually(t, "the rest is claimed", func() bool {
		if ds, err := w.Claim(t.Context(), n); err == nil {
			ids = append(ids, idsOf(t, ds)...)
		}
		return len(ids) >= len(next)
	})
	slices.Sort(ids)
	slices.Sort(next)
	if !slices.Equal(ids, next) {
		t.Errorf("claimed %d messages afterwards, want %d", len(ids), len(next))
	}
}

// deafProxy leads to a server. While it is deaf it takes no answer back, and breaks the
// connection when one comes.
type deafProxy struct {
	addr string
	deaf atomic.Bool
}

func startDeafProxy(t *testing.T, to string) *deafProxy {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	p := &deafProxy{addr: l.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			all.Go(func() { defer far.Close(); _, _ = io.Copy(far, near) })
			all.Go(func() {
				defer near.Close()
				for b := make([]byte, 64<<10); ; {
					n, err := far.Read(b)
					if err != nil || p.deaf.Load() {
						return
					}
					if _, err := near.Write(b[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return p
}
