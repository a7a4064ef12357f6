package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// queues is a Broker that consumes several queues, without an engine.
func queues(t *testing.T, cfg redis.Config, names ...string) *redis.Broker {
	t.Helper()
	cfg.Logger = quiet()
	b, err := redis.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { b.Close() })
	if err := b.Consume(broker.Session{Node: "w@test", Queues: names}); err != nil {
		t.Fatalf("Consume: %v", err)
	}
	return b
}

// fill puts n messages of a priority to the end of a queue.
func fill(t *testing.T, c redigo.Conn, queue string, priority, n int) (ids []string) {
	t.Helper()
	for range n {
		ids = append(ids, send(t, c, queue, "t", "[]", func(m *protocol.Message) { m.Priority = priority }))
	}
	return ids
}

// take claims n messages, in batches, and returns the deliveries in order.
func take(t *testing.T, b *redis.Broker, n, batch int) (ds []broker.Delivery) {
	t.Helper()
	for len(ds) < n {
		more, err := b.Claim(context.Background(), min(batch, n-len(ds)))
		if err != nil || len(more) == 0 {
			t.Fatalf("Claim after %d messages: %d more, %v", len(ds), len(more), err)
		}
		ds = append(ds, more...)
	}
	return ds
}

func queuesOf(ds []broker.Delivery) (names []string) {
	for _, d := range ds {
		names = append(names, d.Queue)
	}
	return names
}

// tally counts the queues of deliveries.
func tally(ds []broker.Delivery) map[string]int {
	n := map[string]int{}
	for _, d := range ds {
		n[d.Queue]++
	}
	return n
}

// The order of queues is kombu's own, of the same messages, however many a claim
// takes at once.
func TestOrderOfQueuesIsKombus(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	names := []string{"m", "z", "a"}
	for _, strategy := range []redis.QueueOrder{redis.RoundRobin, redis.SortedQueues, redis.DeclaredOrder} {
		for _, batch := range []int{1, 7, 100} {
			t.Run(fmt.Sprintf("%s by %d", strategy, batch), func(t *testing.T) {
				do(t, c, "FLUSHDB")
				var n int
				for _, f := range []struct {
					queue       string
					priority, n int
				}{{"m", 0, 5}, {"z", 0, 20}, {"a", 0, 11}, {"m", 3, 6}, {"a", 9, 4}, {"z", 9, 3}, {"m", 6, 1}} {
					n += len(fill(t, c, f.queue, f.priority, f.n))
				}
				lists := map[string]any{}
				for _, key := range must(redigo.Strings(c.Do("KEYS", "*")))(t) {
					lists[key] = do(t, c, "DUMP", key)
				}
				want := kombuOrder(t, s.URL(0), string(strategy), n, names)
				do(t, c, "FLUSHDB")
				for key, dump := range lists {
					do(t, c, "RESTORE", key, 0, dump)
				}
				var got []string
				for _, d := range take(t, queues(t, redis.Config{URL: s.URL(0), QueueOrder: strategy}, names...), n, batch) {
					env, err := protocol.ParseEnvelope(d.Raw)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, d.Queue+" "+env.ID)
				}
				if !slices.Equal(got, want) {
					t.Errorf("order differs from kombu's:\n got %q\nwant %q", got, want)
				}
			})
		}
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// celeryPython returns the Python of the newest Celery.
func celeryPython(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	python := filepath.Join(cache, "evently-workers", "celery-5", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("no environment with Celery: %v; run make setup", err)
	}
	return python
}

// kombuOrder lets the newest kombu take all messages; it returns "queue id" of each.
func kombuOrder(t *testing.T, url, strategy string, n int, names []string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), celeryPython(t), append([]string{"testdata/order.py", url, strategy, strconv.Itoa(n)}, names...)...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kombu: %v\n%s", err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// Shares of weighted queues are exact over each round, whatever a claim takes.
func TestWeightsShareTheClaims(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	weights := map[string]int{"critical": 6, "default": 3} // low has 1
	var first []string
	for _, batch := range []int{1, 3, 10, 64, 100} {
		do(t, c, "FLUSHDB")
		for _, q := range []string{"critical", "default", "low"} {
			fill(t, c, q, 0, 620)
		}
		b := queues(t, redis.Config{URL: s.URL(0), QueueWeights: weights}, "low", "default", "critical")
		ds := take(t, b, 1000, batch)
		if got := tally(ds); got["critical"] != 600 || got["default"] != 300 || got["low"] != 100 {
			t.Errorf("in batches of %d: %v of 1000, want 600, 300 and 100", batch, got)
		}
		for i := 0; i+10 <= len(ds); i += 10 {
			if got := tally(ds[i : i+10]); got["critical"] != 6 || got["default"] != 3 || got["low"] != 1 {
				t.Errorf("in batches of %d: round %d is %v", batch, i/10, got)
			}
		}
		// No long runs either: the six do not come in a row.
		if run := longest(queuesOf(ds)); run > 3 {
			t.Errorf("in batches of %d: %d messages in a row of one queue", batch, run)
		}
		if first == nil {
			first = queuesOf(ds)
		} else if !slices.Equal(queuesOf(ds), first) {
			t.Errorf("batches of %d change the order", batch)
		}
	}
}

func longest(names []string) (most int) {
	run := 0
	for i, n := range names {
		if i == 0 || names[i-1] != n {
			run = 0
		}
		run++
		most = max(most, run)
	}
	return most
}

// A queue that was empty has saved nothing up, and one that was alone owes nothing.
func TestWeightsAfterSilence(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	b := queues(t, redis.Config{URL: s.URL(0), QueueWeights: map[string]int{"a": 8, "b": 2}}, "a", "b")
	fill(t, c, "b", 0, 700)
	if got := tally(take(t, b, 300, 37)); got["b"] != 300 {
		t.Errorf("alone b got %v, want all", got)
	}
	fill(t, c, "a", 0, 300)
	for i, ds := range slices.Collect(slices.Chunk(take(t, b, 100, 10), 10)) {
		if got := tally(ds); got["a"] != 8 || got["b"] != 2 {
			t.Errorf("round %d after the silence of a: %v, want 8 and 2", i, got)
		}
	}
	// A queue that comes and goes gets its share of the rounds in which it has messages.
	seen := map[string]int{}
	for range 100 {
		do(t, c, "DEL", "a")
		fill(t, c, "a", 0, 4)
		for q, n := range tally(take(t, b, 5, 5)) {
			seen[q] += n
		}
	}
	if seen["b"] < 100 || seen["b"] > 130 {
		t.Errorf("of five hundred messages, where a had four at a time: %v; want about one in five of b", seen)
	}
}

// A queue of small weight is served although the others have messages of a better
// priority all the time; within a queue priorities count.
func TestWeightsStarveNobody(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	fill(t, c, "high", 0, 300)
	last := fill(t, c, "low", 9, 10)
	better := fill(t, c, "low", 3, 10)
	b := queues(t, redis.Config{URL: s.URL(0), QueueWeights: map[string]int{"high": 9, "low": 1}}, "high", "low")
	ds := take(t, b, 200, 16)
	if got := tally(ds); got["low"] != 20 {
		t.Errorf("low got %d of 200, want 20", got["low"])
	}
	var got []string
	for _, d := range ds {
		if env, err := protocol.ParseEnvelope(d.Raw); err != nil {
			t.Fatal(err)
		} else if d.Queue == "low" {
			got = append(got, env.ID)
		}
	}
	if want := append(better, last...); !slices.Equal(got, want) {
		t.Errorf("low came in the order %v, want %v", got, want)
	}
}

// Garbage, what has to be looked at, and a queue that cannot be read are no reason
// to forget the weights, or any message.
func TestWeightsWithOddMessages(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	do(t, c, "SET", "broken", "text")
	fill(t, c, "a", 0, 100)
	odd := func(m *protocol.Message) { m.Headers = []protocol.Header{{Name: "x", Value: protocol.Raw(`"ü"`)}} }
	for i := range 100 {
		send(t, c, "b", "t", "[]", odd)
		if i%5 == 0 {
			do(t, c, "LPUSH", "b", fmt.Sprint("garbage ", i))
		}
		raw, err := redigo.String(c.Do("LINDEX", "b", 0))
		if err != nil {
			t.Fatal(err)
		}
		do(t, c, "LSET", "b", 0, strings.Replace(raw, `\u00fc`, "ü", 1)) // not what the script is sure about
	}
	b := queues(t, redis.Config{URL: s.URL(0), QueueWeights: map[string]int{"a": 3, "b": 1, "broken": 5}}, "a", "b", "broken")
	ds := take(t, b, 60, 20)
	if got := tally(ds); got["a"] < 45 || got["a"] > 50 {
		t.Errorf("of sixty messages %v, want about three of a to one of b", got)
	}
	for len(ds) < 200 {
		more, err := b.Claim(context.Background(), 20)
		if err != nil {
			t.Fatal(err)
		}
		ds = append(ds, more...)
	}
	if got := tally(ds); got["a"] != 100 || got["b"] != 100 {
		t.Errorf("in the end %v, want a hundred of each", got)
	}
	if n := count(t, c, "HLEN", "_goworker.1.dead"); n != 20 {
		t.Errorf("%d dead letters, want 20", n)
	}
}

// In turns a batch is not of one queue either.
func TestTurnsWithinABatch(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	for _, q := range []string{"a", "b", "c"} {
		fill(t, c, q, 0, 40)
	}
	b := queues(t, redis.Config{URL: s.URL(0)}, "a", "b", "c")
	for _, batch := range []int{30, 6, 3} {
		if got := tally(take(t, b, batch, batch)); got["a"] != batch/3 || got["b"] != batch/3 {
			t.Errorf("a batch of %d is %v, want as many of each", batch, got)
		}
	}
}

func TestFaultsOfQueueOrder(t *testing.T) {
	for want, cfg := range map[string]redis.Config{
		"QueueOrder":          {QueueOrder: "random"},
		"both":                {QueueOrder: redis.RoundRobin, QueueWeights: map[string]int{"q": 1}},
		`QueueWeights["q"]`:   {QueueWeights: map[string]int{"q": 0}},
		`QueueWeights["big"]`: {QueueWeights: map[string]int{"big": 1001}},
	} {
		cfg.URL = "redis://127.0.0.1"
		if _, err := redis.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s: %v", want, err)
		}
	}
	b, err := redis.New(redis.Config{URL: "redis://127.0.0.1", QueueWeights: map[string]int{"critcal": 6}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Consume(broker.Session{Queues: []string{"critical"}}); err == nil || !strings.Contains(err.Error(), `"critcal"`) {
		t.Errorf("a weight of a queue that is not consumed: %v", err)
	}
}
