package redis_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A worker that is set to a longer OwnerTimeout beats more slowly: one that is set
// to a short one waits for as long.
func TestOwnersHaveTheirOwnTime(t *testing.T) {
	t.Parallel()
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
		for _, early := range []string{"0", "1", "2"} { // no owner is judged on a server that has just started
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

// Who was given up while it was frozen hears that its messages are another's, and
// not that the server has lost them. Nothing is claimed here meanwhile: a worker
// whose slots are all taken does not.
func TestFrozenOwnerHearsOfItsLoss(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	send(t, c, "q", "t", "[]")
	cfg := redis.Config{URL: s.URL(0), OwnerTimeout: time.Second, VisibilityTimeout: 10 * time.Second}
	frozen, heir := newConsumer(t, cfg), newConsumer(t, cfg)
	d := frozen.claim(t, 1)[0]
	heir.run(t)
	owner, _, _ := strings.Cut(d.Claim, ":")
	eventually(t, "it is given up", func() bool {
		_, err := redigo.Float64(c.Do("ZSCORE", "_goworker.1.owners", owner))
		return errors.Is(err, redigo.ErrNil) && count(t, c, "LLEN", "q") == 1
	})
	frozen.run(t)
	eventually(t, "Lost is called", func() bool { return frozen.hasLost(d.Claim) })
	if n := count(t, c, "TTL", "_goworker.1.owner."+owner); n <= 0 {
		t.Errorf("what is known of it has the TTL %d", n)
	}
}

// An entry of the unacked set is renewed, whether its owner is known or not, and also in the
// middle of a registration.
func TestLeaseIsRenewedWhateverIsKnownOfTheOwner(t *testing.T) {
	for name, change := range map[string][]any{
		"forgotten":                   {"DEL"},
		"registers, or was given up":  {"HINCRBY", "epoch", 1},
		"as it was in an older state": {"HINCRBY", "epoch", -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			c := s.Conn(0)
			send(t, c, "q", "t", "[]")
			holder := newConsumer(t, redis.Config{URL: s.URL(0), VisibilityTimeout: time.Second})
			d := holder.claim(t, 1)[0]
			owner, _, _ := strings.Cut(d.Claim, ":")
			do(t, c, change[0].(string), append([]any{"_goworker.1.owner." + owner}, change[1:]...)...)
			holder.run(t)
			score := func() float64 { return must(redigo.Float64(c.Do("ZSCORE", "unacked_index", d.Claim)))(t) }
			first := score()
			eventually(t, "renewed for two visibility timeouts", func() bool { return score() > first+2 })
			if holder.hasLost(d.Claim) {
				t.Error("Lost is called")
			}
		})
	}
}

// One that comes back in the middle of its recovery, and claims anew, is not
// dismissed.
func TestOwnerThatIsBackIsNotDismissed(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	w := newConsumer(t, redis.Config{URL: s.URL(0)})
	w.claim(t, 1)
	owner := must(redigo.Strings(c.Do("ZRANGE", "_goworker.1.owners", 0, 0)))(t)[0]
	for _, script := range []string{"fence", "dismiss"} {
		keysAndArgs := []any{2, "_goworker.1.owners", "_goworker.1.owner." + owner, owner, 15, "1"}
		n, err := redigo.Int(c.Do("EVAL", append([]any{must(redis.ScriptText(script))(t)}, keysAndArgs...)...))
		if n != 0 || err != nil {
			t.Errorf("%s of one that is alive: %d, %v", script, n, err)
		}
	}
	if count(t, c, "ZCARD", "_goworker.1.owners") != 1 || must(redigo.String(c.Do("HGET", "_goworker.1.owner."+owner, "epoch")))(t) != "1" {
		t.Error("it is not what it was")
	}
}

// A process that stood still looks at all that it holds before its first word on any
// of it: whatever has become another's is given up at once, and not with the next
// renewal of the leases.
func TestLateHeartbeatLooksAtAllClaims(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	const n = 3
	for range n {
		send(t, c, "q", "t", "[]")
	}
	cfg := redis.Config{URL: s.URL(0), OwnerTimeout: time.Second}
	frozen, heir := newConsumer(t, cfg), newConsumer(t, cfg)
	ds := frozen.claim(t, n)
	heir.run(t)
	eventually(t, "it is given up", func() bool { return count(t, c, "LLEN", "q") == n })
	if held, err := frozen.Held(t.Context(), ds[0].Claim); held || err != nil {
		t.Errorf("Held = %v, %v", held, err)
	}
	for _, d := range ds {
		if !frozen.hasLost(d.Claim) {
			t.Errorf("Lost was not called for %s", d.Claim)
		}
	}
}

// A process that comes back in time keeps its claims while it finishes: its question sends the
// late heartbeat.
func TestHeldMakesUpForALateHeartbeat(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	send(t, c, "q", "t", "[]")
	late := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second})
	d := late.claim(t, 1)[0]
	owner, _, _ := strings.Cut(d.Claim, ":")
	before := must(redigo.Float64(c.Do("ZSCORE", "_goworker.1.owners", owner)))(t)
	time.Sleep(600 * time.Millisecond) // the silence itself
	if held, err := late.Held(t.Context(), d.Claim); !held || err != nil {
		t.Errorf("Held = %v, %v", held, err)
	}
	if after := must(redigo.Float64(c.Do("ZSCORE", "_goworker.1.owners", owner)))(t); after < before+0.5 {
		t.Errorf("last heartbeat at %f, %f seconds after the one before", after, after-before)
	}
}

// An answer that was given long before it is read, as when the process stood still
// meanwhile, is asked for again.
func TestHeldAsksAgainAfterALateAnswer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	send(t, c, "q", "t", "[]")
	between, err := proxy.New(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(between.Close)
	late := newConsumer(t, redis.Config{URL: "redis://" + between.Addr() + "/0", OwnerTimeout: 2 * time.Second})
	d := late.claim(t, 1)[0]
	if held, err := late.Held(t.Context(), d.Claim); !held || err != nil {
		t.Fatalf("Held = %v, %v", held, err)
	}
	asked := func() string {
		_, after, _ := strings.Cut(must(redigo.String(c.Do("INFO", "commandstats")))(t), "cmdstat_hexists:calls=")
		calls, _, _ := strings.Cut(after, ",")
		return calls
	}
	before := asked()
	if err := between.Set(proxy.FreezeAnswers); err != nil {
		t.Fatal(err)
	}
	answer := make(chan bool, 1)
	go func() {
		held, err := late.Held(context.Background(), d.Claim)
		if err != nil {
			t.Error(err)
		}
		answer <- held
	}()
	eventually(t, "Redis has answered", func() bool { return asked() != before })
	do(t, c, "HDEL", "unacked", d.Claim) // as others do after the timeout
	time.Sleep(1200 * time.Millisecond)  // the delay itself
	if err := between.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	if <-answer {
		t.Error("an old answer was taken for the truth")
	}
}
