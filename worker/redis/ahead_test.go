package redis_test

import (
	"strings"
	"sync"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// Several workers empty one backlog: between what one has seen and what it claims the
// others claim, too. Each message goes to one of them, and what one of them gets keeps
// its order.
func TestClaimedTogether(t *testing.T) {
	const workers, messages = 4, 6000
	s := redistest.Start(t)
	c := s.Conn(0)
	place := map[string]int{}
	for i := range messages {
		place[send(t, c, "q", "t", "[]")] = i
	}
	got := make([][]string, workers)
	var all sync.WaitGroup
	for i := range workers {
		w := newConsumer(t, redis.Config{URL: s.URL(0)})
		all.Go(func() {
			for ds := w.claim(t, 100); len(ds) > 0; ds = w.claim(t, 100) {
				for _, d := range ds {
					got[i] = append(got[i], must(protocol.ParseEnvelope(d.Raw))(t).ID)
				}
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for i, ids := range got {
		last := -1
		for _, id := range ids {
			if seen[id] || place[id] <= last {
				t.Fatalf("worker %d has got message %d, again or too late", i, place[id])
			}
			seen[id], last = true, place[id]
		}
	}
	if len(seen) != messages {
		t.Errorf("%d of %d messages were claimed", len(seen), messages)
	}
	entries, err := redigo.StringMap(c.Do("HGETALL", "unacked"))
	if err != nil || len(entries) != messages {
		t.Fatalf("%d entries of %d messages: %v", len(entries), messages, err)
	}
	for claim, text := range entries {
		if e := must(protocol.ParseEntry([]byte(text)))(t); e.Exchange != "" || e.RoutingKey != "q" || !strings.Contains(string(e.Raw), `"id"`) {
			t.Fatalf("the entry of %s is %s", claim, text)
		}
	}
}

// since is how often Redis has carried out a command since the last call.
func since(t *testing.T, c redigo.Conn, command string) (n int) {
	t.Helper()
	if stats := must(redigo.String(c.Do("INFO", "commandstats")))(t); strings.Contains(stats, "cmdstat_"+command+":") {
		n = calls(t, c, command)
	}
	must(c.Do("CONFIG", "RESETSTAT"))(t)
	return n
}

// Where others are quicker, looks are in vain: they are given up for a while, and longer
// when they are in vain again. Alone a worker looks at all that it claims.
func TestNoLooksInVain(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	for range 1000 {
		send(t, c, "q", "t", "[]")
	}
	a, b := newConsumer(t, redis.Config{URL: s.URL(0)}), newConsumer(t, redis.Config{URL: s.URL(0)})
	a.claim(t, 2) // finds the backlog
	since(t, c, "lrange")
	turn := func(rival bool) (looks int) {
		t.Helper()
		if rival { // takes what a has looked at
			if n := len(b.claim(t, 40)); n < 5 {
				t.Fatalf("the rival claims %d", n)
			}
			since(t, c, "lrange")
		}
		if n := len(a.claim(t, 2)); n != 2 {
			t.Fatalf("%d were claimed, want 2", n)
		}
		return since(t, c, "lrange")
	}
	for range 3 {
		if n := turn(false); n == 0 {
			t.Fatal("a worker that is alone does not look")
		}
	}
	var looked []int
	for i := range 12 {
		if turn(true) > 0 {
			looked = append(looked, i)
		}
	}
	if len(looked) < 2 || len(looked) > 5 {
		t.Errorf("of 12 claims beside a rival those with a look were %v, want a few", looked)
	}
	looks := 0
	for range 40 {
		if turn(false) > 0 {
			looks++
		}
	}
	if turn(false) == 0 || looks < 10 {
		t.Errorf("%d of 40 claims have looked since the rival went away, and the last has not", looks)
	}
}
