package redis_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// server is a Redis without persistence, and the clock of its CPU.
type server struct {
	*redistest.Server
	redigo.Conn
	b     *testing.B
	began float64 // seconds of CPU
	used  float64 // seconds of CPU while the timer ran
}

// newServer starts a Redis. The timer does not run.
func newServer(b *testing.B) *server {
	b.Helper()
	b.StopTimer()
	b.ReportAllocs()
	s := redistest.Start(b, "--appendonly", "no")
	return &server{Server: s, Conn: s.Conn(0), b: b}
}

// start starts the timer, of the benchmark and of Redis; stop stops both.
func (s *server) start() {
	s.began = s.cpu()
	s.b.StartTimer()
}

func (s *server) stop() {
	s.b.StopTimer()
	s.used += s.cpu() - s.began
}

// report adds what Redis has used, in microseconds of CPU for each operation, and
// the time of one of the tasks in it.
func (s *server) report(tasks int) {
	s.b.Helper()
	s.used += s.cpu() - s.began
	s.b.ReportMetric(s.used/float64(s.b.N)*1e6, "redis-µs/op")
	s.b.ReportMetric(float64(s.b.Elapsed().Nanoseconds())/float64(s.b.N*tasks), "ns/task")
}

func (s *server) cpu() (seconds float64) {
	s.b.Helper()
	info, err := redigo.String(s.Do("INFO", "cpu"))
	if err != nil {
		s.b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.b.Fatal(err)
			}
			seconds += n
		}
	}
	return seconds
}

// fill puts n messages of a producer into a list.
func (s *server) fill(list string, n int) {
	s.b.Helper()
	args := []any{list}
	for range n {
		id := uuid.NewString()
		raw, err := protocol.Encode(&protocol.Message{
			ID: id, RootID: id, CorrelationID: id, Task: "nothing", Lang: "py", Origin: "gen1@host",
			Args: protocol.Raw(`[1, "two"]`), Kwargs: protocol.Raw(`{"three": null}`), ArgsRepr: "[1, 'two']", KwargsRepr: "{'three': None}",
			ReplyTo: uuid.NewString(), DeliveryTag: uuid.NewString(), RoutingKey: "q",
		})
		if err != nil {
			s.b.Fatal(err)
		}
		args = append(args, raw)
	}
	do(s.b, s.Conn, "LPUSH", args...)
}

// consumer starts a Redis and a Broker that consumes q without an engine.
func (s *server) consumer() *redis.Broker {
	s.b.Helper()
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(func() { b.Close() })
	if err := b.Consume(broker.Session{Node: "w@test", Queues: []string{"q"}}); err != nil {
		s.b.Fatal(err)
	}
	return b
}

// benchmarks are by name, for TestAllocations. The number is that of the messages
// in one operation.
var benchmarks = map[string]func(*testing.B){
	"claim/1":   func(b *testing.B) { claimBatches(b, 1) },
	"claim/100": func(b *testing.B) { claimBatches(b, 100) },
	"settle/1":  func(b *testing.B) { settleBatches(b, 1) },
	"settle/64": func(b *testing.B) { settleBatches(b, 64) },
	// With the end of a mark and an entry of 400 bytes.
	"settle entry/1":  func(b *testing.B) { settleBatches(b, 1, withEntry) },
	"settle entry/64": func(b *testing.B) { settleBatches(b, 64, withEntry) },
	"held":            func(b *testing.B) { marks(b, false) },
	"mark":            func(b *testing.B) { marks(b, true) },
	"task/1":          taskAlone,
	"task/1000":       tasksOfQueue,
}

func BenchmarkRedis(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(benchmarks)) {
		b.Run(name, benchmarks[name])
	}
}

// claimBatches takes messages from a queue that never runs dry.
func claimBatches(b *testing.B, batch int) {
	s := newServer(b)
	redisBroker := s.consumer()
	left := 0
	for s.start(); b.Loop(); left -= batch {
		if left < batch {
			s.stop()
			do(b, s.Conn, "DEL", "q", "unacked", "unacked_index")
			left = 10_000
			s.fill("q", left)
			s.start()
		}
		ds, err := redisBroker.Claim(b.Context(), batch)
		if err != nil || len(ds) != batch {
			b.Fatalf("%d messages, %v", len(ds), err)
		}
	}
	s.report(batch)
}

// settleBatches ends deliveries with a result, all of a batch at once.
func settleBatches(b *testing.B, batch int, change ...func(*broker.Settlement)) {
	s := newServer(b)
	redisBroker := s.consumer()
	var ready []broker.Settlement
	for s.start(); b.Loop(); ready = ready[batch:] {
		if len(ready) < batch {
			s.stop()
			ready = settlements(b, s, redisBroker)
			for _, f := range change {
				for i := range ready {
					f(&ready[i])
				}
			}
			s.start()
		}
		if err := errors.Join(redisBroker.SettleAll(b.Context(), ready[:batch])...); err != nil {
			b.Fatal(err)
		}
	}
	s.report(batch)
}

// withEntry adds what the task of a mail records.
func withEntry(s *broker.Settlement) {
	s.Mark = &broker.Mark{Task: strings.Repeat("f", 32)}
	s.Succeeded = true
	e := broker.Entry{Stream: "mail"}
	for i := range 20 {
		e.Fields = append(e.Fields, fmt.Sprintf("field%03d", i), "of 12 bytes.")
	}
	s.Entries = []broker.Entry{e}
}

// marks asks for a claim, or sets a mark while asking.
func marks(b *testing.B, mark bool) {
	s := newServer(b)
	redisBroker := s.consumer()
	s.fill("q", 1)
	ds, err := redisBroker.Claim(b.Context(), 1)
	if err != nil || len(ds) != 1 {
		b.Fatalf("%d messages, %v", len(ds), err)
	}
	claim, n := ds[0].Claim, 0
	for s.start(); b.Loop(); n++ {
		if mark {
			_, err = redisBroker.Mark(b.Context(), broker.Marking{
				Mark: broker.Mark{Task: fmt.Sprintf("%032x", n), Value: "sending 1"}, Claim: claim, Run: claim,
			})
		} else {
			_, err = redisBroker.Held(b.Context(), claim)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	s.report(1)
}

// settlements claims messages and returns a settlement of each.
func settlements(b *testing.B, s *server, broker *redis.Broker) (all []broker.Settlement) {
	b.Helper()
	const n = 6400
	s.fill("q", n)
	for len(all) < n {
		ds, err := broker.Claim(b.Context(), 100)
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range ds {
			all = append(all, succeeds(d, "null"))
		}
	}
	return all
}

// engine runs a worker whose tasks do nothing.
func (s *server) engine() *worker.Worker {
	nothing := worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, nil })
	w, _ := runWorker(s.b, redis.Config{URL: s.URL(0)}, worker.Config{
		Concurrency: 8, Tasks: map[string]worker.Definition{"nothing": {Handler: nothing}},
	})
	eventually(s.b, "the worker consumes", func() bool { return w.Status().Consuming })
	return w
}

// taskAlone is the way of a task that finds the worker waiting, from its queue to
// its acknowledgement.
func taskAlone(b *testing.B) {
	s := newServer(b)
	w := s.engine()
	s.fill("stock", 20_000)
	done := int64(0)
	for s.start(); b.Loop(); {
		do(b, s.Conn, "LMOVE", "stock", "q", "RIGHT", "LEFT")
		done++
		s.await(w, done)
	}
	s.report(1)
}

// tasksOfQueue is the same for many that wait.
func tasksOfQueue(b *testing.B) {
	const n = 1000
	s := newServer(b)
	w := s.engine()
	done := int64(0)
	for s.start(); b.Loop(); {
		s.stop()
		s.fill("stock", n)
		s.start()
		do(b, s.Conn, "RENAME", "stock", "q") // which wakes the worker
		done += n
		s.await(w, done)
	}
	s.report(n)
}

// await waits for a number of tasks, without asking Redis.
func (s *server) await(w *worker.Worker, succeeded int64) {
	s.b.Helper()
	for deadline := time.Now().Add(time.Minute); w.Status().Succeeded < succeeded; time.Sleep(20 * time.Microsecond) {
		if time.Now().After(deadline) {
			s.b.Fatal(fmt.Errorf("%d tasks ended, want %d", w.Status().Succeeded, succeeded))
		}
	}
}
