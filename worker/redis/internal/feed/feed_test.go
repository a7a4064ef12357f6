package feed_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/internal/scripts"
	"github.com/evently/workers/worker/redis/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// subscriber notes what its subscription tells.
type subscriber struct {
	mu     sync.Mutex
	got    []string
	joined int
	left   []error
	heard  redis.Heard
	told   int
	gaps   []redis.Heard
}

func (s *subscriber) subscription() redis.Subscription {
	return redis.Subscription{
		Name: "n", Channels: []string{"a", "b:c"}, Every: 400 * time.Millisecond,
		Message: func(channel string, raw []byte) { s.note(func() { s.got = append(s.got, channel+"="+string(raw)) }) },
		Joined:  func() { s.note(func() { s.joined++ }) },
		Left:    func(err error) { s.note(func() { s.left = append(s.left, err) }) },
		Heard: func(h redis.Heard) {
			s.note(func() {
				s.heard, s.told = h, s.told+1
				if h.New {
					s.gaps = append(s.gaps, h)
				}
			})
		},
	}
}

func (s *subscriber) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *subscriber) is(f func() bool) (ok bool) {
	s.note(func() { ok = f() })
	return ok
}

// subscribe begins a subscription, and returns a function that ends it.
func subscribe(t *testing.T, url string) (*subscriber, func()) {
	t.Helper()
	b, err := redis.New(redis.Config{URL: url, KeyPrefix: "acme:", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, done := &subscriber{}, make(chan error, 1)
	go func() { done <- b.Subscribe(ctx, s.subscription()) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Subscribe: %v", err)
		}
		b.Close()
	})
	t.Cleanup(stop)
	eventually(t, "it has joined", func() bool { return s.is(func() bool { return s.joined > 0 }) })
	return s, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// A subscription hears its channels, without a prefix, and comes back after a break.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := server.Conn(0)
	s, stop := subscribe(t, server.URL(0))
	if n, err := c.Do("PUBLISH", "a", "1"); n != int64(1) || err != nil {
		t.Fatalf("PUBLISH: %v, %v", n, err)
	}
	c.Do("PUBLISH", "other", "2")
	c.Do("PUBLISH", "b:c", "\x00\xff")
	eventually(t, "two messages", func() bool {
		return s.is(func() bool { return slices.Equal(s.got, []string{"a=1", "b:c=\x00\xff"}) })
	})
	c.Do("CLIENT", "KILL", "TYPE", "pubsub")
	eventually(t, "it has joined again", func() bool {
		return s.is(func() bool { return s.joined == 2 && len(s.left) == 1 && s.left[0] != nil })
	})
	c.Do("PUBLISH", "a", "3")
	eventually(t, "a third message", func() bool { return s.is(func() bool { return len(s.got) == 3 }) })
	stop()
	eventually(t, "no subscriber after the end", func() bool { n, _ := c.Do("PUBLISH", "a", "4"); return n == int64(0) })
}

// A user that may not ask for the time hears the messages all the same.
func TestSubscribeWithoutTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := server.Conn(0)
	if _, err := c.Do("ACL", "SETUSER", "timeless", "on", ">secret", "allkeys", "allchannels", "+@all", "-time"); err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, "redis://timeless:secret@"+server.Addr+"/0")
	if n, err := c.Do("PUBLISH", "a", "1"); n != int64(1) || err != nil {
		t.Fatalf("PUBLISH: %v, %v", n, err)
	}
	eventually(t, "a message", func() bool { return s.is(func() bool { return slices.Equal(s.got, []string{"a=1"}) }) })
}

// A gap is found by one subscriber alone, if none has listened. The time in which another one
// has listened is no gap.
func TestGaps(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	one, stopOne := subscribe(t, server.URL(0))
	two, stopTwo := subscribe(t, server.URL(0))
	eventually(t, "both have told", func() bool { return untilOf(t, server) > 0 })
	stopTwo()
	two, stopTwo = subscribe(t, server.URL(0))
	eventually(t, "it has told after its patience", func() bool { return two.is(func() bool { return two.told > 5 }) })
	if n := gapsOf(t, server); n != 0 {
		t.Errorf("%d gaps although one has listened", n)
	}
	stopOne()
	stopTwo()
	began := time.Now()
	time.Sleep(time.Second)
	one, _ = subscribe(t, server.URL(0))
	two, _ = subscribe(t, server.URL(0))
	away := time.Since(began)
	eventually(t, "the gap is told", func() bool {
		return one.is(func() bool { return len(one.gaps) > 0 }) || two.is(func() bool { return len(two.gaps) > 0 })
	})
	eventually(t, "both know of it", func() bool {
		return one.is(func() bool { return one.heard.Gaps == 1 }) && two.is(func() bool { return two.heard.Gaps == 1 })
	})
	all := slices.Concat(one.gaps, two.gaps)
	if len(all) != 1 {
		t.Fatalf("%d gaps were told, want 1: %v", len(all), all)
	}
	// The proof of the last subscriber may be a ping old, which a busy machine sends late.
	if lost := all[0].To.Sub(all[0].From); lost < time.Second || lost > away+30*time.Second || all[0].Lost != lost {
		t.Errorf("gap of %v, want about %v", lost, away)
	}
}

// Periods of listening are noted in any order, also by subscribers that live for a moment. Only the
// time that none covers is a gap.
func TestHeardScript(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	all, err := scripts.Load(false)
	if err != nil {
		t.Fatal(err)
	}
	c := server.Conn(0)
	type note struct{ from, to, earlier, isNew int64 }
	for name, test := range map[string]struct {
		notes                 []note
		gaps, lost, from, end int64
	}{
		"overlapping":               {notes: []note{{0, 1000, 0, 0}, {900, 2000, 0, 0}, {500, 1500, 0, 0}}},
		"a gap":                     {notes: []note{{0, 1000, 0, 0}, {3000, 8000, 0, 0}, {3000, 9000, 0, 1}, {3000, 10000, 0, 0}}, gaps: 1, lost: 2000, from: 1000, end: 3000},
		"covered later":             {notes: []note{{0, 1000, 0, 0}, {3000, 5000, 0, 0}, {500, 4000, 0, 0}, {4000, 11000, 0, 0}}},
		"short lives after the gap": {notes: []note{{0, 1000, 0, 0}, {3000, 5000, 0, 0}, {4500, 7000, 0, 0}, {6000, 9000, 0, 1}, {8500, 11000, 0, 0}}, gaps: 1, lost: 2000, from: 1000, end: 3000},
		"two gaps":                  {notes: []note{{0, 1000, 0, 0}, {3000, 5000, 0, 0}, {6000, 9000, 0, 1}}, gaps: 1, lost: 3000, from: 1000, end: 6000},
		"two gaps, the other way":   {notes: []note{{0, 1000, 0, 0}, {6000, 8000, 0, 0}, {3000, 5000, 0, 0}, {6000, 9000, 0, 1}}, gaps: 1, lost: 3000, from: 1000, end: 6000},
		"two gaps and one":          {notes: []note{{0, 1000, 0, 0}, {3000, 5000, 0, 0}, {6000, 9000, 0, 1}, {20000, 26000, 0, 1}}, gaps: 2, lost: 14000, from: 9000, end: 20000},
		"the key is lost":           {notes: []note{{3000, 9500, 1000, 1}, {3000, 10000, 0, 0}}, gaps: 1, lost: 2000, from: 1000, end: 3000},
		"the first ones":            {notes: []note{{3000, 9500, 0, 0}, {2000, 9000, 0, 0}}},
		"the clock was set back":    {notes: []note{{900_000, 901_000, 0, 0}, {3000, 9500, 0, 0}, {9000, 12000, 0, 0}}},
	} {
		var reply []int64
		for i, n := range test.notes {
			if reply, err = redigo.Int64s(all.Heard().Do(c, 1, name, n.from, n.to, 6000, n.earlier)); err != nil {
				t.Fatal(err)
			}
			if reply[0] != n.isNew {
				t.Errorf("%s: note %d has told %d, want %d", name, i, reply[0], n.isNew)
			}
		}
		if want := []int64{test.gaps, test.lost, test.from, test.end}; !slices.Equal(reply[1:], want) {
			t.Errorf("%s: gaps, time, begin and end %v, want %v", name, reply[1:], want)
		}
	}
}

func fieldOf(t *testing.T, server *redistest.Server, field string) (n int64) {
	t.Helper()
	reply, err := server.Conn(0).Do("HGET", "acme:_goworker.1.heard.n", field)
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := reply.([]byte); ok {
		fmt.Sscan(string(b), &n)
	}
	return n
}

func untilOf(t *testing.T, server *redistest.Server) int64 { return fieldOf(t, server, "until") }
func gapsOf(t *testing.T, server *redistest.Server) int64  { return fieldOf(t, server, "gaps") }

// A dictionary is bounded: the oldest entry goes first, and one that was aged before it.
func TestDictionary(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b, err := redis.New(redis.Config{URL: server.URL(0), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	d, ctx := b.Dictionary("d", 3), t.Context()
	for _, key := range []string{"1", "2", "3"} {
		if err := d.Set(ctx, key, "text "+key); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Age(ctx, "3"); err != nil {
		t.Error(err)
	}
	if err := d.Age(ctx, "unknown"); err != nil {
		t.Error(err)
	}
	if text, err := d.Get(ctx, "3"); text != "text 3" || err != nil {
		t.Errorf("Get: %q, %v", text, err)
	}
	if err := d.Set(ctx, "4", "text 4"); err != nil {
		t.Error(err)
	}
	for key, want := range map[string]string{"1": "text 1", "2": "text 2", "3": "", "4": "text 4", "unknown": ""} {
		if text, err := d.Get(ctx, key); text != want || err != nil {
			t.Errorf("Get %s: %q, %v, want %q", key, text, err, want)
		}
	}
}
