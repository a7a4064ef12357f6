package redis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

func do(t testing.TB, c redigo.Conn, cmd string, args ...any) any {
	t.Helper()
	reply, err := c.Do(cmd, args...)
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return reply
}

func count(t testing.TB, c redigo.Conn, cmd, key string) int {
	t.Helper()
	n, err := redigo.Int(do(t, c, cmd, key), nil)
	if err != nil {
		t.Fatalf("%s %s: %v", cmd, key, err)
	}
	return n
}

// A key of another type costs what it is for. All else goes on, the fault says what to do,
// and when that was done nothing is lost.
func TestKeysOfAnotherTypeLoseNothing(t *testing.T) {
	s := redistest.Start(t, "--databases", "32")
	const messages = 20
	db := 0
	for key, stops := range map[string]bool{
		"q\x06\x163": false, "r": false, "unacked": true, "unacked_index": true, "unacked_mutex": false,
		"_goworker.1.dead": false, "_goworker.1.dead.meta": false, "_goworker.1.dead.index": false, "_goworker.1.dead.spare": false,
		"_goworker.1.owners": false, "_goworker.1.revoked": false, "_goworker.1.revoked.stamps": false,
		"_kombu.binding.q": false, "_kombu.binding.celery.pidbox": false, "_kombu.binding.reply.celery.pidbox": false,
	} {
		db++
		db := db
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			c := s.Conn(db)
			if key == "_goworker.1.dead" {
				do(t, c, "LPUSH", key, "a message")
			} else {
				do(t, c, "HSET", key, "any", "text")
				if key == "unacked" || strings.HasSuffix(key, "dead") || strings.HasSuffix(key, ".meta") {
					do(t, c, "SET", key, "text")
				}
			}
			var ids []string
			for range messages {
				ids = append(ids, send(t, c, "q", "nothing", "[]"))
			}
			do(t, c, "LPUSH", "q", "garbage")
			w, stop := runWorker(t, redis.Config{URL: s.URL(db), OwnerTimeout: time.Second}, worker.Config{Tasks: nothing(), Queues: []string{"q", "r"}})
			done := func() {
				t.Helper()
				for _, id := range ids {
					eventually(t, "result", func() bool { return result(t, c, id).Status == "SUCCESS" })
				}
			}
			if !stops {
				done()
				eventually(t, "the worker consumes", func() bool { return w.Status().Consuming })
			}
			var faults []string
			eventually(t, "the fault is noticed", func() bool { faults = w.Status().Faults; return len(faults) == 1 })
			_, command, ok := strings.Cut(faults[0], ": move it away with ")
			if !ok {
				t.Fatalf("no command in %q", faults[0])
			}
			command = strings.Replace(command, "redis-cli", "redis-cli -p "+strconv.Itoa(s.Port), 1)
			if out, err := exec.Command("bash", "-c", command).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "OK" {
				t.Fatalf("%s: %s (%v)", command, out, err)
			}
			done()
			eventually(t, "the garbage is a dead letter", func() bool { return count(t, c, "HLEN", "_goworker.1.dead") == 1 })
			eventually(t, "the fault is over", func() bool { return len(w.Status().Faults) == 0 && w.Status().Fault == "" })
			stop()
			if n := count(t, c, "HLEN", "unacked") + count(t, c, "LLEN", "q"); n != 0 {
				t.Errorf("%d messages are left", n)
			}
		})
	}
}

// Messages of a crashed worker come back although the index was lost meanwhile.
func TestLostIndexIsMade(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	id := send(t, c, "q", "nothing", "[]")
	gone := newConsumer(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second})
	d := gone.claim(t, 1)[0]
	owner, _, _ := strings.Cut(d.Claim, ":")
	do(t, c, "HSET", "_goworker.1.owner."+owner, "identity", `{"boot": "elsewhere", "pid": 1}`)
	do(t, c, "DEL", "unacked_index")
	runWorker(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second}, worker.Config{Tasks: nothing()})
	eventually(t, "the message is delivered again", func() bool { return result(t, c, id).Status == "SUCCESS" })
}

// One queue that cannot be read does not stop the others.
func TestBrokenQueueIsPassedOver(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	do(t, c, "SET", "q", "text")
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing(), Queues: []string{"q", "r"}})
	for range 5 {
		id := send(t, c, "r", "nothing", "[]")
		eventually(t, "result", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
}

// Python would not know where to put this either, and drops it.
func TestNoWayBackIsADeadLetter(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	do(t, c, "SET", "broken", "text")
	raw, err := protocol.Encode(&protocol.Message{ID: "i", Task: "nothing", DeliveryTag: "d", RoutingKey: "broken"})
	if err != nil {
		t.Fatal(err)
	}
	do(t, c, "HSET", "unacked", "d", protocol.EncodeEntry(protocol.Entry{Raw: raw, RoutingKey: "broken"}))
	do(t, c, "ZADD", "unacked_index", 1, "d")
	consumer := newConsumer(t, redis.Config{URL: s.URL(0)})
	consumer.run(t)
	eventually(t, "the message is a dead letter", func() bool { return count(t, c, "HLEN", "_goworker.1.dead") == 1 })
	if n := count(t, c, "HLEN", "unacked"); n != 0 {
		t.Errorf("%d unacknowledged, want none", n)
	}
}

// A task that has ended is not run again because what follows it has nowhere to
// go: that becomes a dead letter.
func TestNowhereToGoIsADeadLetter(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing()})
	lost := canvas.New("nothing").Set(canvas.Options{TaskID: "follows", Exchange: "no-such-exchange", RoutingKey: "k"})
	raw, err := lost.Raw()
	if err != nil {
		t.Fatal(err)
	}
	id := send(t, c, "q", "nothing", "[]", func(m *protocol.Message) { m.Callbacks = protocol.Raw("[" + string(raw) + "]") })
	eventually(t, "the task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
	eventually(t, "it is acknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
	var letters []string
	eventually(t, "what follows is a dead letter", func() bool {
		letters, err = redigo.Strings(c.Do("HVALS", "_goworker.1.dead"))
		return err == nil && len(letters) == 1
	})
	if m, err := protocol.Decode([]byte(letters[0]), protocol.Limits{}); err != nil || m.ID != "follows" {
		t.Errorf("dead letter is %s (%v), want the task that follows", letters[0], err)
	}
	if metas, _ := redigo.Strings(c.Do("HVALS", "_goworker.1.dead.meta")); !strings.Contains(metas[0], "no-such-exchange") {
		t.Errorf("reason is %s, want the name of the exchange", metas)
	}
	// A client is told instead: it can still do something about it.
	client, err := worker.NewClient(worker.ClientConfig{Backend: backend(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Send(t.Context(), lost); err == nil {
		t.Error("the client sent a task to nowhere")
	} else if _, ok := errors.AsType[*broker.RouteError](err); !ok {
		t.Errorf("error is %v, want a RouteError", err)
	}
}

// A queue of another type takes no message, and costs no dead letter either.
func TestPublishingKeepsDeadLetters(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	do(t, c, "LPUSH", "q", "garbage")
	_, stop := runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing()})
	eventually(t, "the garbage is a dead letter", func() bool { return count(t, c, "HLEN", "_goworker.1.dead") == 1 })
	stop()
	do(t, c, "SET", "broken", "text")
	client, err := worker.NewClient(worker.ClientConfig{Backend: backend(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Send(t.Context(), canvas.New("nothing").Set(canvas.Options{Queue: "broken"})); err != nil {
		t.Fatal(err)
	}
	if n := count(t, c, "HLEN", "_goworker.1.dead"); n != 2 {
		t.Errorf("%d dead letters, want both", n)
	}
}

// The id of a task is the producer's choice: its result may have no place to go.
func TestResultWithoutAPlace(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing(), Concurrency: 1, TrackStarted: true})
	for i, task := range []string{"nothing", "unknown", "nothing", "unknown"} {
		id := fmt.Sprintf("taken-%d", i)
		do(t, c, "RPUSH", "celery-task-meta-"+id, "text")
		send(t, c, "q", task, "[]", func(m *protocol.Message) { m.ID = id })
	}
	id := send(t, c, "q", "nothing", "[]")
	eventually(t, "the task behind them is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
	eventually(t, "all are acknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
}

// A message that Redis can parse and Python cannot would crash a Python worker that puts it
// back. It never enters the unacked set.
func TestOnlyRestorableMessagesAreEntered(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	raw := func(old, new string) string {
		b, err := protocol.Encode(&protocol.Message{ID: "i", Task: "t", DeliveryTag: "d", RoutingKey: "q",
			Headers: []protocol.Header{{Name: "x", Value: protocol.Raw("1")}}})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), old) {
			t.Fatalf("%q is not in the message", old)
		}
		return strings.Replace(string(b), old, new, 1)
	}
	bad := []string{
		raw(`"x": 1`, `"x": nan`), raw(`"x": 1`, `"x": -inf`), raw(`"x": 1`, `"x": 0x10`), raw(`"x": 1`, `"x": 007`),
		raw(`"x": 1`, `"x": 1.`), raw(`"x": 1`, `"x": .5`), raw(`"x": 1`, `"x": +1`),
		raw(`"x": 1`, `"x": {"__type__": "no", "__value__": 1}`), raw(`"x": 1`, `"x": {"_\u005ftype__": "no", "__value__": 1}`),
		raw(`"x": 1`, `"x": `+strings.Repeat("9", 5000)), raw(`"x": 1`, "\"x\": \"\x01\""), raw(`"x": 1`, "\"x\": \"\xff\""),
		raw(`"x": 1`, `"x": `+strings.Repeat("[", 900)+strings.Repeat("]", 900)),
		raw(`"exchange": ""`, `"exchange": 1`), raw(`{"body": "`, `{"he\u0061ders": [], "body": "`) + "\x00more",
	}
	good := []string{
		raw(`"x": 1`, `"x": NaN`), raw(`"x": 1`, `"x": -1.5e-07`), raw(`"x": 1`, `"x": "\ud800"`), raw(`"x": 1`, `"x": "ü"`),
		raw(`"x": 1`, `"x": {"headers": [1]}`), raw(`"x": 1`, `"headers": []`), raw(`"x": 1`, `"x": {"__type__": "date", "__value__": "2026-01-02"}`),
		raw(`"x": 1`, `"x": 1180591620717411303424`), raw(`"x": 1`, `"x": `+strings.Repeat("[", 300)+strings.Repeat("]", 300)),
	}
	for _, m := range slices.Concat(bad, good) {
		do(t, c, "LPUSH", "q", m)
	}
	consumer := newConsumer(t, redis.Config{URL: s.URL(0)})
	var got []string
	for range 100 {
		ds := consumer.claim(t, 10)
		for _, d := range ds {
			got = append(got, string(d.Raw))
		}
		if len(ds) == 0 && count(t, c, "LLEN", "q") == 0 {
			break
		}
	}
	slices.Sort(got)
	slices.Sort(good)
	if !slices.Equal(got, good) {
		t.Errorf("claimed %d messages, want the %d good ones:\n%q", len(got), len(good), got)
	}
	if n := count(t, c, "HLEN", "_goworker.1.dead"); n != len(bad) {
		t.Errorf("%d dead letters, want %d", n, len(bad))
	}
	if n := count(t, c, "HLEN", "unacked"); n != len(good) {
		t.Errorf("%d unacknowledged, want %d", n, len(good))
	}
}

// cutter is a way to Redis that can be cut after a request: the server carries it
// out, and the answer gets lost.
type cutter struct {
	l     net.Listener
	mu    sync.Mutex
	swear func(request []byte) bool // whether to lose the answer to this one
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &cutter{l: l}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { k.carry(c, server) })
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return k
}

func (k *cutter) carry(c net.Conn, server string) {
	defer c.Close()
	s, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer s.Close()
	go func() { _, _ = io.Copy(c, s); c.Close() }()
	buf := make([]byte, 1<<20)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		k.mu.Lock()
		lose := k.swear != nil && k.swear(buf[:n])
		k.mu.Unlock()
		if lose {
			c.(*net.TCPConn).CloseWrite()
			_, _ = s.Write(buf[:n])
			time.Sleep(50 * time.Millisecond) // the server carries it out
			return
		}
		if _, err := s.Write(buf[:n]); err != nil {
			return
		}
	}
}

// loseOnce loses the answer to the next request that has text in it.
func (k *cutter) loseOnce(text string) (lost func() bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var done bool
	k.swear = func(request []byte) bool {
		if done || !strings.Contains(string(request), text) {
			return false
		}
		done = true
		return true
	}
	return func() bool { k.mu.Lock(); defer k.mu.Unlock(); return done }
}

// Every dead letter stays, whichever answer gets lost.
func TestLostAnswerLosesNoDeadLetter(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	k := newCutter(t, s.Addr)
	consumer := newConsumer(t, redis.Config{URL: "redis://" + k.l.Addr().String() + "/0"})
	const garbage = 300
	for i := range garbage {
		do(t, c, "LPUSH", "q", fmt.Sprintf("garbage %d", i))
	}
	lost := k.loseOnce("not-json") // of a claim with verdicts
	for range 1000 {
		_, _ = consumer.Claim(context.Background(), 10)
		if count(t, c, "LLEN", "q") == 0 {
			break
		}
	}
	if !lost() {
		t.Fatal("no answer was lost: this test proves nothing")
	}
	if n := count(t, c, "HLEN", "_goworker.1.dead"); n != garbage {
		t.Errorf("%d dead letters, want %d", n, garbage)
	}
}

// Messages of a claim whose reply got lost go back, also when the worker stops before it
// could look.
func TestLostAnswerOfAClaim(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	k := newCutter(t, s.Addr)
	consumer := newConsumer(t, redis.Config{URL: "redis://" + k.l.Addr().String() + "/0"})
	if _, err := consumer.Claim(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	id := send(t, c, "q", "nothing", "[]")
	lost := k.loseOnce("unacked_index")
	if _, err := consumer.Claim(context.Background(), 1); err == nil || !lost() {
		t.Fatalf("Claim: %v, answer lost: %v", err, lost())
	}
	eventually(t, "the message is taken, unseen", func() bool { return count(t, c, "HLEN", "unacked") == 1 })
	ds, err := consumer.Claim(context.Background(), 1)
	if err != nil || len(ds) != 1 || !strings.Contains(string(ds[0].Raw), id) {
		t.Errorf("the next claim: %d messages, %v, want the same message", len(ds), err)
	}
	if strings.Contains(string(ds[0].Raw), "redelivered") {
		t.Error("a message that nobody has seen says that it was delivered before")
	}
}

// A count of crashes counts a run once, however often the question is asked, and
// a clean return takes back what it counted and nothing else.
func TestCrashesAreCountedOnce(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	consumer := newConsumer(t, redis.Config{URL: s.URL(0)})
	ctx := context.Background()
	start := func(d broker.Delivery, want int) {
		t.Helper()
		for range 3 { // answers got lost
			if got, err := consumer.Start(ctx, d, broker.Start{}); err != nil || got.Crashed != want {
				t.Errorf("Start = %+v, %v, want %d crashes", got, err, want)
			}
		}
	}
	crash := func(d broker.Delivery) broker.Delivery {
		t.Helper()
		do(t, c, "ZADD", "unacked_index", 1, d.Claim)
		other := newConsumer(t, redis.Config{URL: s.URL(0)})
		stop := other.run(t)
		eventually(t, "the message is back", func() bool { return count(t, c, "LLEN", "q") == 1 })
		stop()
		return consumer.claim(t, 1)[0]
	}
	giveBack := func(d broker.Delivery) broker.Delivery {
		t.Helper()
		if err := consumer.Return(ctx, []broker.Delivery{d}); err != nil {
			t.Fatal(err)
		}
		return consumer.claim(t, 1)[0]
	}
	send(t, c, "q", "nothing", "[]")
	d := consumer.claim(t, 1)[0]
	start(d, 0)
	d = giveBack(d)
	start(d, 0)
	d = crash(d)
	start(d, 1)
	d = giveBack(d)
	d = giveBack(d) // without a run in between
	start(d, 1)
	d = crash(d)
	start(d, 2)
	if err := settled(consumer.Settle(ctx, broker.Settlement{Delivery: d, Requeue: broker.RequeueRedelivered})); err != nil {
		t.Fatal(err)
	}
	start(consumer.claim(t, 1)[0], 0)
}

func settled(s broker.Settled, err error) error {
	if err == nil && !s.Done() {
		err = errors.New("a chord is in the way")
	}
	return err
}

// After an outage for all workers, the first one back reclaims no messages of the others.
func TestOutageForAllRobsNobody(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	cfg := redis.Config{URL: s.URL(0), OwnerTimeout: 3 * time.Second}
	eventually(t, "the server is up for a while", func() bool {
		info, err := redigo.String(c.Do("INFO", "server"))
		return err == nil && !strings.Contains(info, "uptime_in_seconds:0\r\n") && !strings.Contains(info, "uptime_in_seconds:1\r\n") &&
			!strings.Contains(info, "uptime_in_seconds:2\r\n")
	})
	back, away := newConsumer(t, cfg), newConsumer(t, cfg)
	back.run(t)
	eventually(t, "it beats", func() bool { return count(t, c, "ZCARD", "_goworker.1.owners") == 1 })
	// Another process, by its owner entry: its heartbeat is too old after the outage, and not before.
	send(t, c, "q", "nothing", "[]")
	d := away.claim(t, 1)[0]
	owner, _, _ := strings.Cut(d.Claim, ":")
	do(t, c, "HSET", "_goworker.1.owner."+owner, "identity", `{"boot": "elsewhere", "pid": 1}`)
	do(t, c, "CLIENT", "PAUSE", 5500, "ALL")
	eventually(t, "the server answers again", func() bool { _, err := c.Do("PING"); return err == nil })
	time.Sleep(300 * time.Millisecond) // the one that is back has looked by now
	if held, err := away.Held(context.Background(), d.Claim); err != nil || !held {
		t.Errorf("the claim of one that comes back a little later is gone: %v, %v", held, err)
	}
	// It never does.
	eventually(t, "the message is given back in the end", func() bool { return count(t, c, "LLEN", "q") == 1 })
}

// A server that is full, or does not let us wait, is not asked without end.
func TestNoHotLoop(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string][]any{
		"full": {"CONFIG", "SET", "maxmemory", "1"}, "BLMOVE forbidden": {"ACL", "SETUSER", "default", "-blmove"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			c := s.Conn(0)
			do(t, c, fault[0].(string), fault[1:]...)
			runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing()})
			connections := func() (n int) {
				info, err := redigo.String(c.Do("INFO", "stats"))
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(info) {
					if _, err := fmt.Sscanf(line, "total_connections_received:%d", &n); err == nil {
						return n
					}
				}
				return 0
			}
			time.Sleep(500 * time.Millisecond)
			before, began := connections(), time.Now()
			time.Sleep(2 * time.Second)
			n := connections() - before
			if took := time.Since(began); float64(n) > 20*took.Seconds() {
				t.Errorf("%d connections in %v", n, took)
			}
		})
	}
}
