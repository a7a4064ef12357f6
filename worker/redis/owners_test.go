package redis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A worker that is set to a longer OwnerTimeout beats more slowly: one that is set
// to a short one waits for as long.
func TestOwnersHaveTheirOwnTime(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	send(t, c, "q", "t", "[]")
	slow := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Hour})
	d := slow.claim(t, 1)[0]
	owner, _, _ := strings.Cut(d.Claim, ":")
	do(t, c, "HSET", "_goworker.1.owner."+owner, "identity", `{"boot": "elsewhere", "pid": 1}`)
	now := must(redigo.Int64s(c.Do("TIME")))(t)[0]
	do(t, c, "ZADD", "_goworker.1.owners", now-600, owner)

	quick := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second})
	quick.run(t)
	eventually(t, "the quick one has looked a few times", func() bool {
		beats, err := redigo.Strings(c.Do("ZREVRANGE", "_goworker.1.owners", 0, 0, "WITHSCORES"))
		up, err2 := redigo.String(c.Do("INFO", "server"))
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		for _, early := range []string{"0", "1", "2"} { // nobody is judged on a server that has just come up
			if strings.Contains(up, "uptime_in_seconds:"+early+"\r\n") {
				return false
			}
		}
		last := must(redigo.Float64([]byte(beats[1]), nil))(t)
		return last > float64(now)+4
	})
	if held, err := slow.Held(context.Background(), d.Claim); err != nil || !held {
		t.Errorf("the slow one was robbed within its own time: %v, %v", held, err)
	}
	do(t, c, "ZADD", "_goworker.1.owners", now-3700, owner)
	eventually(t, "it is given up after that", func() bool { return count(t, c, "LLEN", "q") == 1 })
}

func TestBrokerServesOneWorkerOnce(t *testing.T) {
	s := redistest.Start(t)
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context) error {
		w, err := worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Tasks: nothing(), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		return w.Run(ctx)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	c := s.Conn(0)
	eventually(t, "the first worker consumes", func() bool { return count(t, c, "ZCARD", "_goworker.1.owners") == 1 })
	for _, when := range []string{"beside the first", "after the first"} {
		if err := run(context.Background()); err == nil || !strings.Contains(err.Error(), "a Broker of its own") {
			t.Errorf("a second worker %s: %v", when, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the first worker: %v", err)
		}
		done <- nil
	}
}
