package redis_test

import (
	"context"
	"fmt"
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

// ear collects what a Remote hears.
type ear struct {
	mu               sync.Mutex
	joined           int
	requests, events []string
}

func (e *ear) listening(node string) broker.Listening {
	note := func(to *[]string) func([]byte) {
		return func(raw []byte) {
			e.mu.Lock()
			defer e.mu.Unlock()
			*to = append(*to, string(raw))
		}
	}
	return broker.Listening{Node: node, Request: note(&e.requests), Event: note(&e.events), Joined: func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.joined++
	}}
}

func (e *ear) heard() (joined int, requests, events []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.joined, slices.Clone(e.requests), slices.Clone(e.events)
}

// listen begins to listen and returns when that stands.
func listen(t *testing.T, b *redis.Broker, node string) (e *ear, stop func()) {
	t.Helper()
	e = &ear{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Listen(ctx, e.listening(node)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Listen: %v", err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "it listens", func() bool { n, _, _ := e.heard(); return n > 0 })
	return e, stop
}

func TestListen(t *testing.T) {
	s := redistest.Start(t)
	for name, cfg := range map[string]redis.Config{
		"plain":         {URL: s.URL(0)},
		"another base":  {URL: s.URL(5)},
		"prefix":        {URL: s.URL(0), KeyPrefix: "shop:"},
		"prefix of [*]": {URL: s.URL(0), KeyPrefix: "[*]?"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Logger = quiet()
			b, err := redis.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			db := strings.TrimPrefix(cfg.URL, s.URL(0)[:len(s.URL(0))-1])
			c := s.Conn(0)
			e, stop := listen(t, b, "w@h")
			control, events := cfg.KeyPrefix+"/"+db+".celery.pidbox", cfg.KeyPrefix+"/"+db+".celeryev/"
			do(t, c, "PUBLISH", control, "request")
			do(t, c, "PUBLISH", events+"worker.heartbeat", "event")
			do(t, c, "PUBLISH", events+"task.multi", "of a task")
			do(t, c, "PUBLISH", "/9.celery.pidbox", "of another base")
			if err := b.Broadcast(t.Context(), []byte("broadcast")); err != nil {
				t.Fatal(err)
			}
			if err := b.Emit(t.Context(), broker.Emission{RoutingKey: "worker.x", Raw: []byte("emitted")}, broker.Emission{RoutingKey: "task.x", Raw: []byte("y")}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all arrive", func() bool {
				_, requests, events := e.heard()
				return slices.Equal(requests, []string{"request", "broadcast"}) && slices.Equal(events, []string{"event", "emitted"})
			})
			binding := cfg.KeyPrefix + "_kombu.binding.celery.pidbox"
			bs := s.Conn(0)
			do(t, bs, "SELECT", db)
			if got, err := redigo.Strings(bs.Do("SMEMBERS", binding)); err != nil || !slices.Equal(got, []string{"\x06\x16\x06\x16w@h.celery.pidbox"}) {
				t.Errorf("bindings %q, %v", got, err)
			}
			stop()
			if n := count(t, bs, "SCARD", binding); n != 0 {
				t.Errorf("%d bindings are left", n)
			}
		})
	}
}

// A connection that breaks is replaced, and so is the server behind it.
func TestListenComesBack(t *testing.T) {
	s := redistest.Start(t)
	b := backend(t, s)
	e, _ := listen(t, b, "w@h")
	c := s.Conn(0)
	for i := range 3 {
		do(t, c, "CLIENT", "KILL", "TYPE", "pubsub")
		eventually(t, "it listens again", func() bool { n, _, _ := e.heard(); return n >= i+2 })
		do(t, c, "PUBLISH", "/0.celery.pidbox", fmt.Sprint(i))
		eventually(t, "it hears again", func() bool { _, got, _ := e.heard(); return len(got) == i+1 })
	}
}

func TestReply(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	b := backend(t, s)
	const exchange = "reply.celery.pidbox"
	to := protocol.ReplyTo{Exchange: exchange, RoutingKey: "oid"}
	if err := b.Reply(t.Context(), to, []byte("to nobody")); err != nil {
		t.Fatal(err)
	}
	if n := count(t, c, "EXISTS", "oid."+exchange); n != 0 {
		t.Error("an answer to nobody was left behind")
	}
	do(t, c, "SADD", "_kombu.binding."+exchange, "oid\x06\x16\x06\x16oid."+exchange)
	for _, text := range []string{"one", "two"} {
		if err := b.Reply(t.Context(), to, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := redigo.Strings(c.Do("LRANGE", "oid."+exchange, 0, -1)); err != nil || !slices.Equal(got, []string{"two", "one"}) {
		t.Errorf("answers %q, %v", got, err)
	}
	if ttl := count(t, c, "TTL", "oid."+exchange); ttl < 1 || ttl > 60 {
		t.Errorf("answers live for %d s, want a minute at most", ttl)
	}
	// A request of a stranger must not lead us into a queue of tasks.
	do(t, c, "SADD", "_kombu.binding.tasks", "tasks\x06\x16\x06\x16tasks")
	do(t, c, "SADD", "_kombu.binding."+exchange, "evil\x06\x16\x06\x16tasks")
	if err := b.Reply(t.Context(), protocol.ReplyTo{Exchange: "tasks", RoutingKey: "tasks"}, []byte("x")); err == nil {
		t.Error("an answer went to another exchange")
	}
	if err := b.Reply(t.Context(), protocol.ReplyTo{Exchange: exchange, RoutingKey: "evil"}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n := count(t, c, "EXISTS", "tasks"); n != 0 {
		t.Error("an answer is in a queue of tasks")
	}
}

func TestAsk(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	b := backend(t, s)
	began := time.Now()
	if err := b.Ask(t.Context(), []byte("anybody?"), "nobody", func([]byte) { t.Error("an answer of nobody") }); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v though nobody was there", took)
	}

	answering := func(node string) *redis.Broker {
		other := backend(t, s)
		ctx, cancel := context.WithCancel(context.Background())
		done, joined := make(chan struct{}), make(chan struct{}, 10)
		go func() {
			defer close(done)
			_ = other.Listen(ctx, broker.Listening{Node: node, Joined: func() { joined <- struct{}{} }, Request: func(raw []byte) {
				to := protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: string(raw)}
				if node == "mute" {
					return
				}
				if err := other.Reply(ctx, to, []byte(node)); err != nil {
					t.Errorf("Reply: %v", err)
				}
			}})
		}()
		t.Cleanup(func() { cancel(); <-done })
		<-joined
		return other
	}
	answering("one")
	answering("two")
	var got []string
	if err := b.Ask(t.Context(), []byte("key"), "key", func(raw []byte) { got = append(got, string(raw)) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("answers %q", got)
	}
	answering("mute")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	got = nil
	if err := b.Ask(ctx, []byte("again"), "again", func(raw []byte) { got = append(got, string(raw)) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Errorf("answers %q, want those of the two that answer", got)
	}
	for _, key := range []string{"_kombu.binding.reply.celery.pidbox", "key.reply.celery.pidbox", "again.reply.celery.pidbox"} {
		if n := count(t, c, "EXISTS", key); n != 0 {
			t.Errorf("%s was left behind", key)
		}
	}
}

// Queues come and go while the worker runs.
func TestQueuesChange(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Tasks: nothing(), Concurrency: 1, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.AddQueue(t.Context(), "early"); err == nil {
		t.Error("a queue was added before Consume")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	first := send(t, c, "q", "nothing", "[]")
	eventually(t, "the first queue is consumed", func() bool { return result(t, c, first).Status == "SUCCESS" })
	for i := range 3 {
		waiting := send(t, c, "more", "nothing", "[]", func(m *protocol.Message) { m.Priority = 3 * i })
		if changed, err := b.AddQueue(t.Context(), "more"); err != nil || !changed {
			t.Fatalf("AddQueue: %v, %v", changed, err)
		}
		if changed, err := b.AddQueue(t.Context(), "more"); err != nil || changed {
			t.Fatalf("AddQueue, again: %v, %v", changed, err)
		}
		later := send(t, c, "more", "nothing", "[]")
		eventually(t, "the new queue is consumed", func() bool {
			return result(t, c, waiting).Status == "SUCCESS" && result(t, c, later).Status == "SUCCESS"
		})
		if changed, err := b.CancelQueue(t.Context(), "more"); err != nil || !changed {
			t.Fatalf("CancelQueue: %v, %v", changed, err)
		}
		if changed, err := b.CancelQueue(t.Context(), "more"); err != nil || changed {
			t.Fatalf("CancelQueue, again: %v, %v", changed, err)
		}
		left := send(t, c, "more", "nothing", "[]")
		id := send(t, c, "q", "nothing", "[]")
		eventually(t, "the first queue is consumed", func() bool { return result(t, c, id).Status == "SUCCESS" })
		if got := result(t, c, left).Status; got != "PENDING" {
			t.Errorf("the task of the cancelled queue is %s", got)
		}
	}
	if n, err := b.Depth(t.Context()); err != nil || n != 0 {
		t.Errorf("depth %d, %v, want that of the queues that are consumed", n, err)
	}
	if changed, err := b.CancelQueue(t.Context(), "q"); err != nil || !changed {
		t.Fatalf("CancelQueue: %v, %v", changed, err)
	}
	id := send(t, c, "q", "nothing", "[]")
	if _, err := b.AddQueue(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is back", func() bool { return result(t, c, id).Status == "SUCCESS" })
}

func TestDepth(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	b := backend(t, s)
	if err := b.Consume(broker.Session{Node: "w@h", Queues: []string{"a", "b"}}); err != nil {
		t.Fatal(err)
	}
	for i, queue := range []string{"a", "a", "b", "c"} {
		send(t, c, queue, "t", "[]", func(m *protocol.Message) { m.Priority = 3 * i })
	}
	do(t, c, "SET", "b", "of another type")
	if n, err := b.Depth(t.Context()); err != nil || n != 3 {
		t.Errorf("depth %d, %v, want 3", n, err)
	}
}

func TestInfoHidesThePassword(t *testing.T) {
	for url, want := range map[string]broker.Info{
		"redis://:s3cret@db.example:6380/5":        {Transport: "redis", Hostname: "db.example", Port: 6380, VirtualHost: "5", URL: "redis://:********@db.example:6380/5"},
		"rediss://ann:s3cret@[::1]/":               {Transport: "redis", Hostname: "::1", Port: 6379, VirtualHost: "0", UserID: "ann", TLS: true, URL: "rediss://ann:********@[::1]:6379/0"},
		"redis+socket:///run/redis?virtual_host=2": {Transport: "redis", Hostname: "/run/redis", VirtualHost: "2", URL: "redis+socket:///run/redis/2"},
	} {
		b, err := redis.New(redis.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		got := b.Info()
		b.Close()
		want.ConnectTimeout = got.ConnectTimeout
		if got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", url, got, want)
		}
	}
}

// A missing permission of the Redis user is an error, also in pipelined commands.
func TestRefusalsAreErrors(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	do(t, c, "ACL", "SETUSER", "looker", "on", ">secret", "~*", "resetchannels", "+@all", "-lpush")
	b, err := redis.New(redis.Config{URL: "redis://looker:secret@" + s.Addr + "/0", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Emit(t.Context(), broker.Emission{RoutingKey: "worker.heartbeat", Raw: []byte("{}")}); err == nil {
		t.Error("events that were refused are no error")
	}
	do(t, c, "SADD", "_kombu.binding.reply.celery.pidbox", "r\x06\x16\x06\x16r.reply.celery.pidbox")
	if err := b.Reply(t.Context(), protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: "r"}, []byte("{}")); err == nil {
		t.Error("an answer that was refused is no error")
	}
	do(t, c, "SCRIPT", "FLUSH")
	do(t, c, "ACL", "SETUSER", "looker", "+lpush")
	if err := b.Reply(t.Context(), protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: "r"}, []byte("{}")); err != nil {
		t.Errorf("with the right: %v", err)
	}
	if ttl := count(t, c, "TTL", "r.reply.celery.pidbox"); ttl <= 0 || ttl > 60 {
		t.Errorf("an answer that nobody fetches lives for %d s", ttl)
	}
}

func TestOwnKeysAreNoQueues(t *testing.T) {
	s := redistest.Start(t)
	b := newConsumer(t, redis.Config{URL: s.URL(0)})
	for _, queue := range []string{"unacked", "unacked_index", "unacked_mutex", "_goworker.1.dead", "_kombu.binding.q", "celery-task-meta-x"} {
		if changed, err := b.AddQueue(t.Context(), queue); changed || err == nil {
			t.Errorf("queue %s: %v, %v", queue, changed, err)
		}
	}
	if _, err := b.Claim(t.Context(), 1); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
