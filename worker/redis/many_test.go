package redis_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

func manyNames(n int) []string {
	queues := make([]string, n)
	for i := range queues {
		queues[i] = fmt.Sprintf("tenant-%05d", i)
	}
	return queues
}

// A worker of thousands of queues runs what comes into any of them, at any priority.
func TestManyQueues(t *testing.T) {
	for _, steps := range [][]int{nil, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		t.Run(fmt.Sprintf("steps %v", steps), func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			c := s.Conn(0)
			queues := manyNames(5000)
			var ids []string
			put := func(queue, step string) {
				ids = append(ids, send(t, c, queue+step, "nothing", "[]"))
			}
			for i := 0; i < 5000; i += 499 {
				put(queues[i], "")
				put(queues[i], "\x06\x169")
			}
			put(queues[4999], "\x06\x163")
			w, stop := runWorker(t, redis.Config{URL: s.URL(0), PrioritySteps: steps}, worker.Config{Tasks: nothing(), Queues: queues})
			all := func(when string) {
				t.Helper()
				for _, id := range ids {
					eventually(t, when, func() bool { return result(t, c, id).Status == "SUCCESS" })
				}
			}
			all("what was there is done")
			eventually(t, "the worker consumes", func() bool { return w.Status().Consuming })
			put(queues[0], "")
			put(queues[4998], "\x06\x166")
			all("what comes is done")
			if n := count(t, c, "HLEN", "unacked"); n != 0 {
				t.Errorf("%d are unacknowledged", n)
			}
			if n := clientCount(t, c); n > 30 {
				t.Errorf("%d connections", n)
			}
			stop()
		})
	}
}

// Many queues keep the order that few have: by step, and in turn.
func TestManyQueuesInTurn(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	queues := manyNames(2500)
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if err := b.Consume(broker.Session{Node: "w@test", Queues: queues}); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{7, 2400, 1200} {
		for range 3 {
			send(t, c, queues[i], "nothing", "[]")
		}
	}
	send(t, c, queues[2000]+"\x06\x163", "nothing", "[]")
	var got []string
	for len(got) < 10 {
		ds, err := b.Claim(context.Background(), 2)
		if err != nil || len(ds) == 0 {
			t.Fatalf("%d messages, %v, after %v", len(ds), err, got)
		}
		for _, d := range ds {
			got = append(got, d.Queue[len("tenant-"):])
		}
	}
	const want = "[00007 01200 02400 00007 01200 02400 00007 01200 02400 02000]"
	if fmt.Sprint(got) != want {
		t.Errorf("claimed from %v, want %s", got, want)
	}
	if n, err := b.Depth(t.Context()); n != 0 || err != nil {
		t.Errorf("depth is %d, %v", n, err)
	}
	for _, q := range queues {
		do(t, c, "LPUSH", q, "x")
	}
	if n, err := b.Depth(t.Context()); n != len(queues) || err != nil {
		t.Errorf("depth is %d, %v, want %d", n, err, len(queues))
	}
	began := time.Now()
	if _, err := b.Claim(t.Context(), 100); err != nil {
		t.Error(err)
	}
	t.Logf("a claim from %d full queues took %v", len(queues), time.Since(began))
}

// The names of keys that hold something else are no queues.
func TestNamesThatAreNoQueues(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	for _, prefix := range []string{"", "app:"} {
		cfg := redis.Config{URL: s.URL(0), KeyPrefix: prefix, ResultKeyPrefix: prefix + "r_", Logger: quiet()}
		for _, queue := range []string{
			"unacked", "unacked_index", "unacked_mutex", "_kombu.binding.q", "_goworker.1.dead", "_goworker.1.revoked",
			"celery-task-meta-1", "celery-taskset-meta-1", "unacked\x06\x163", "email\x06\x169", "r_celery-task-meta-1",
			// Of others in the same database.
			"acme:unacked", "acme:eu:unacked_mutex", "acme:_goworker.1.dead", "acme_kombu.binding.q", "acme_celery-task-meta-1",
		} {
			b, err := redis.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Consume(broker.Session{Node: "w@test", Queues: []string{"q", queue}}); err == nil {
				t.Errorf("%q with the prefix %q is consumed", queue, prefix)
			}
			if _, err := b.AddQueue(t.Context(), queue); err == nil {
				t.Errorf("%q with the prefix %q was added", queue, prefix)
			}
			err = b.Publish(t.Context(), broker.Changes{Publish: []broker.Publication{{Queue: queue, Raw: []byte("{}")}}})
			if err == nil {
				t.Errorf("%q with the prefix %q got a message", queue, prefix)
			}
			b.Close()
		}
	}
	if n := len(do(t, s.Conn(0), "KEYS", "*").([]any)); n != 0 {
		t.Errorf("%d keys", n)
	}
}

// clientCount is the number of connections to the server.
func clientCount(t *testing.T, c redigo.Conn) int {
	t.Helper()
	return strings.Count(must(redigo.String(c.Do("CLIENT", "LIST")))(t), "\n")
}
