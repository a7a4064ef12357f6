package redis_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// consumer is a Broker that consumes q, without an engine.
type consumer struct {
	*redis.Broker
	mu   sync.Mutex
	lost []string
}

func newConsumer(t *testing.T, cfg redis.Config) *consumer {
	t.Helper()
	cfg.Logger = quiet()
	b, err := redis.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	c := &consumer{Broker: b}
	err = b.Consume(broker.Session{Node: "w@test", Queues: []string{"q"}, Lost: func(claim string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lost = append(c.lost, claim)
	}})
	if err != nil {
		t.Fatalf("Consume: %v", err)
	}
	t.Cleanup(func() { b.Close() })
	return c
}

func (c *consumer) hasLost(claim string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.lost, claim)
}

// run keeps the leases of c until the test ends or stop is called.
func (c *consumer) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (c *consumer) claim(t *testing.T, max int) []broker.Delivery {
	t.Helper()
	ds, err := c.Claim(context.Background(), max)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return ds
}

func queued(t *testing.T, c redigo.Conn, list string) (ids []string) {
	t.Helper()
	raws, err := redigo.ByteSlices(c.Do("LRANGE", list, 0, -1))
	if err != nil {
		t.Fatalf("read queue: %v", err)
	}
	for _, raw := range raws {
		env, err := protocol.ParseEnvelope(raw)
		if err != nil {
			t.Fatalf("message in the queue: %v", err)
		}
		ids = append(ids, env.ID)
	}
	slices.Reverse(ids)
	return ids
}

// Messages of a dead worker go back to the front within seconds, in order, marked as
// redelivered.
func TestDeadOwnerIsRecovered(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	var want []string
	for range 5 {
		want = append(want, send(t, c, "q", "t", "[]"))
	}
	dead := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second})
	if n := len(dead.claim(t, 3)); n != 3 {
		t.Fatalf("claimed %d, want 3", n)
	}
	heir := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second})
	heir.run(t)
	eventually(t, "the dead one's messages are back", func() bool { return slices.Equal(queued(t, c, "q"), want) })
	for i, d := range heir.claim(t, 10) {
		m, err := protocol.Decode(d.Raw, protocol.Limits{})
		if err != nil || m.Redelivered != (i < 3) {
			t.Errorf("message %d: redelivered %v, %v", i, m.Redelivered, err)
		}
	}
}

// Who dies between the last member of a chord and its body has a claim on the chord.
// A Python worker that gets the member again would leave the body to it.
func TestClaimOnAChordEndsWithItsOwner(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	for _, group := range []string{"left", "taken over"} {
		raw := must(protocol.Encode(&protocol.Message{ID: group, Task: "t", Args: protocol.Raw("[]"), Group: group, DeliveryTag: group, RoutingKey: "q"}))(t)
		do(t, c, "LPUSH", "q", raw)
	}
	dead := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second})
	claims := dead.claim(t, 2)
	do(t, c, "SET", "celery-taskset-meta-left.c", claims[0].Claim)
	do(t, c, "SET", "celery-taskset-meta-taken over.c", "3f2504e04f8911d39a0c0305e82c3301")
	heir := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second})
	heir.run(t)
	eventually(t, "the dead one's messages are back", func() bool { return len(queued(t, c, "q")) == 2 })
	eventually(t, "the claim of the dead is gone", func() bool { return count(t, c, "EXISTS", "celery-taskset-meta-left.c") == 0 })
	if n := count(t, c, "EXISTS", "celery-taskset-meta-taken over.c"); n != 1 {
		t.Error("the claim of a Python worker is gone")
	}
}

// An owner that lives keeps its messages however long it holds them, and
// however short the visibility timeout is.
func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	send(t, c, "q", "t", "[]")
	cfg := redis.Config{URL: s.URL(0), VisibilityTimeout: time.Second, OwnerTimeout: time.Minute}
	holder, peer := newConsumer(t, cfg), newConsumer(t, cfg)
	holder.run(t)
	peer.run(t)
	d := holder.claim(t, 1)[0]
	score := func() float64 {
		f, err := redigo.Float64(c.Do("ZSCORE", "unacked_index", d.Claim))
		if err != nil {
			t.Fatalf("the claim is gone: %v", err)
		}
		return f
	}
	first := score()
	eventually(t, "renewed for three visibility timeouts", func() bool { return score() > first+3 })
	if held, err := holder.Held(context.Background(), d.Claim); !held || err != nil {
		t.Errorf("Held = %v, %v, want true", held, err)
	}
}

// What Python workers left unacknowledged follows Python's rule, and Python's
// routing: named exchanges by their bindings, the list of the priority.
func TestPythonsMessagesAreRecovered(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	entry := func(tag, exchange, key string, priority int) (id string) {
		m := &protocol.Message{ID: "id-" + tag, Task: "t", Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"),
			DeliveryTag: tag, Exchange: exchange, RoutingKey: key, Priority: priority}
		raw, err := protocol.Encode(m)
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		hold(t, c, tag, string(protocol.EncodeEntry(protocol.Entry{Raw: raw, Exchange: exchange, RoutingKey: key})), 100)
		return m.ID
	}
	plain := entry("1", "", "q", 0)
	urgent := entry("2", "", "q", 9)
	topic := entry("3", "orders", "order.new", 0)
	for _, m := range []string{"order.#\x06\x16^order\\..*?$\x06\x16audit", "other\x06\x16\x06\x16q"} {
		if _, err := c.Do("SADD", "_kombu.binding.orders", m); err != nil {
			t.Fatal(err)
		}
	}
	young := entry("4", "", "q", 0)
	hold(t, c, "4", "", 0)
	// These crash every Python worker, at every start, until they are gone.
	hold(t, c, "5", "no json", 100)
	hold(t, c, "6", `[{"headers": null}, "nowhere", "x"]`, 100)

	newConsumer(t, redis.Config{URL: s.URL(0), VisibilityTimeout: time.Minute}).run(t)
	eventually(t, "everything is where it belongs", func() bool {
		return slices.Equal(queued(t, c, "q"), []string{plain}) &&
			slices.Equal(queued(t, c, "q\x06\x169"), []string{urgent}) && slices.Equal(queued(t, c, "audit"), []string{topic})
	})
	eventually(t, "only the young one is left", func() bool {
		left, err := redigo.Strings(c.Do("HKEYS", "unacked"))
		return err == nil && slices.Equal(left, []string{"4"})
	})
	if n, err := redigo.Int(c.Do("HLEN", "_goworker.1.dead")); n != 2 || err != nil {
		t.Errorf("%d dead letters, want the 2 that nobody could restore (%v)", n, err)
	}
	_ = young
}

// hold enters a message as unacknowledged since age seconds, as Python does; an
// empty entry only changes the age.
func hold(t *testing.T, c redigo.Conn, tag, entry string, age int) {
	t.Helper()
	now, err := redigo.Int64s(c.Do("TIME"))
	if err != nil {
		t.Fatalf("TIME: %v", err)
	}
	if _, err := c.Do("ZADD", "unacked_index", now[0]-int64(age), tag); err != nil {
		t.Fatalf("ZADD: %v", err)
	}
	if entry == "" {
		return
	}
	if _, err := c.Do("HSET", "unacked", tag, entry); err != nil {
		t.Fatalf("HSET: %v", err)
	}
}

// A worker that was frozen hears that its messages are another's.
func TestLostClaimIsReported(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	send(t, c, "q", "t", "[]")
	frozen := newConsumer(t, redis.Config{URL: s.URL(0), VisibilityTimeout: time.Second})
	d := frozen.claim(t, 1)[0]
	if _, err := c.Do("DEL", "unacked"); err != nil {
		t.Fatal(err)
	}
	frozen.run(t)
	eventually(t, "Lost is called", func() bool { return frozen.hasLost(d.Claim) })
}

// A claim whose reply was lost, and that may still be on its way to Redis, is taken back: its
// messages do not wait for the visibility timeout.
func TestUnseenClaimIsTakenBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	w := newConsumer(t, redis.Config{URL: s.URL(0)})
	kept := send(t, c, "q", "t", "[]")
	if n := len(w.claim(t, 1)); n != 1 {
		t.Fatalf("claimed %d, want 1", n)
	}
	unseen := send(t, c, "q", "t", "[]")
	s.Stop() // the command is sent and waits in the socket of a server that hangs
	if _, err := w.Claim(context.Background(), 1); err == nil {
		t.Fatal("Claim of a server that hangs succeeded")
	}
	s.Continue() // and now it is carried out, or refused as stale
	eventually(t, "the message is claimed by one who knows", func() bool {
		ds, err := w.Claim(context.Background(), 10)
		return err == nil && len(ds) == 1 && strings.Contains(string(ds[0].Raw), unseen)
	})
	if n, err := redigo.Int(c.Do("HLEN", "unacked")); n != 2 || err != nil {
		t.Errorf("%d unacknowledged, want 2: %s and %s (%v)", n, kept, unseen, err)
	}
}

// The server loses everything: the worker registers anew and goes on.
func TestEmptiedServerIsSurvived(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	w := newConsumer(t, redis.Config{URL: s.URL(0)})
	w.claim(t, 1)
	if _, err := c.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	id := send(t, c, "q", "t", "[]")
	eventually(t, "claimed again", func() bool {
		ds, err := w.Claim(context.Background(), 1)
		return err == nil && len(ds) == 1 && strings.Contains(string(ds[0].Raw), id)
	})
}

// Redis 6.0 has no BLMOVE, and many managed servers rename commands.
func TestServerWithoutBLMOVE(t *testing.T) {
	s := redistest.Start(t, "--rename-command", "BLMOVE", "")
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0), PollInterval: 10 * time.Millisecond}, worker.Config{Tasks: nothing()})
	for range 3 {
		id := send(t, c, "q", "nothing", "[]")
		eventually(t, "result", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
}

func nothing() map[string]worker.Definition {
	return map[string]worker.Definition{
		"nothing": {Handler: worker.Func(func(context.Context, struct{}) (any, error) { return nil, nil })},
	}
}

// Faults that a server can have while connections stand: each is survived, and
// nothing is lost.
func TestServerFaults(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	w, _ := runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing(), Concurrency: 4})
	works := func(t *testing.T) {
		t.Helper()
		id := send(t, c, "q", "nothing", "[]")
		eventually(t, "result", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
	do := func(t *testing.T, cmd string, args ...any) {
		t.Helper()
		if _, err := c.Do(cmd, args...); err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
	}
	broken := func(t *testing.T) {
		t.Helper()
		eventually(t, "the fault is noticed", func() bool { return w.Status().Fault != "" })
	}
	works(t)
	for name, fault := range map[string]func(t *testing.T){
		"connections killed": func(t *testing.T) { do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") },
		"scripts flushed":    func(t *testing.T) { do(t, "SCRIPT", "FLUSH") },
		"demoted to replica": func(t *testing.T) {
			do(t, "REPLICAOF", "127.0.0.1", "1")
			broken(t)
			do(t, "REPLICAOF", "NO", "ONE")
		},
		"queue of a wrong type": func(t *testing.T) {
			do(t, "SET", "q", "text")
			// One list of four costs its own messages alone: it does not end consuming.
			eventually(t, "the key is named", func() bool { return len(w.Status().Faults) > 0 })
			do(t, "DEL", "q")
		},
		"rights taken away": func(t *testing.T) {
			do(t, "ACL", "SETUSER", "default", "-evalsha", "-eval")
			broken(t)
			do(t, "ACL", "SETUSER", "default", "+@all")
		},
		"writes refused": func(t *testing.T) {
			do(t, "CONFIG", "SET", "maxmemory", "1mb")
			do(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
			broken(t)
			do(t, "CONFIG", "SET", "maxmemory", "0")
		},
		"busy": func(t *testing.T) { do(t, "CLIENT", "PAUSE", "200", "WRITE") },
	} {
		t.Run(name, func(t *testing.T) {
			fault(t)
			works(t)
		})
	}
	eventually(t, "all are acknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
}

func TestRestartOfTheServer(t *testing.T) {
	s := redistest.Start(t)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing()})
	for range 3 {
		id := send(t, s.Conn(0), "q", "nothing", "[]")
		s.Kill()
		s.Up()
		c := s.Conn(0)
		eventually(t, "result", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
}
