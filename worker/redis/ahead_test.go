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
	t.Parallel()
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
