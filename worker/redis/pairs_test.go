package redis

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// pairs are scripts that must do the same, the cheaper one first, as far as that can.
var pairs = [][2]string{
	{"finish", "settle"}, {"settle", "carry"}, {"finish", "carry"}, {"starts", "start"}, {"claimseen", "claim"}, {"pick", "claim"},
}

// scriptWorld is a Redis with one delivery, for one script.
type scriptWorld struct {
	*testing.T
	b *Broker
	c redigo.Conn
	d broker.Delivery
}

// scene is a state before the script, and a settlement or start.
type scene struct {
	name       string
	before     func(w *scriptWorld)
	settlement broker.Settlement
	scripts    string // that can do it
}

const (
	pairOwner  = "11111111-2222-3333-4444-555555555555"
	pairResult = "celery-task-meta-id"
)

// lose gives the delivery to another worker.
func (w *scriptWorld) lose() {
	w.do("ZREM", "unacked_index", w.d.Claim)
	w.do("HDEL", "unacked", w.d.Claim)
}

func (w *scriptWorld) do(cmd string, args ...any) {
	w.Helper()
	if _, err := w.c.Do(cmd, args...); err != nil {
		w.Fatal(err)
	}
}

func pairScenes() []scene {
	success := &protocol.Result{TaskID: "id", Status: protocol.StateSuccess, Result: protocol.Raw("1")}
	failure := &protocol.Result{TaskID: "id", Status: protocol.StateFailure, Exception: &protocol.Exception{Type: "E", Module: "m"}}
	stored := func(value string) func(*scriptWorld) { return func(w *scriptWorld) { w.do("SET", pairResult, value) } }
	both := func(fs ...func(*scriptWorld)) func(*scriptWorld) {
		return func(w *scriptWorld) {
			for _, f := range fs {
				f(w)
			}
		}
	}
	publish := broker.Changes{Publish: []broker.Publication{{Queue: "next", Priority: 3, Raw: []byte("published")}}}
	entries := []broker.Entry{{Stream: "s", Fields: []string{"a", "1"}}, {Stream: "s", Fields: []string{"a", "2"}}}
	marked := func(w *scriptWorld) { w.do("SET", "_goworker.1.mark.f", "0 4 mark") }
	const all, larger = "finish settle carry", "settle carry"
	return []scene{
		{"success", nil, broker.Settlement{Result: success}, all},
		{"failure", nil, broker.Settlement{Result: failure}, all},
		{"no result", nil, broker.Settlement{}, all},
		{"started before", stored(`{"status": "STARTED"}`), broker.Settlement{Result: failure, Tracked: true}, all},
		{"succeeded before", stored(`{"status": "SUCCESS"}`), broker.Settlement{Result: failure}, all},
		{"result of another type", func(w *scriptWorld) { w.do("RPUSH", pairResult, "x") }, broker.Settlement{Result: success}, all},
		{"lost, success", (*scriptWorld).lose, broker.Settlement{Result: success}, all},
		{"lost, failure", (*scriptWorld).lose, broker.Settlement{Result: failure}, all},
		{"lost, success after success", both((*scriptWorld).lose, stored(`{"status": "SUCCESS", "n": 1}`)), broker.Settlement{Result: success}, all},
		{"retry", nil, broker.Settlement{Result: failure, Changes: publish}, larger},
		{"retry without a result", nil, broker.Settlement{Changes: publish}, larger},
		{"requeue", nil, broker.Settlement{Requeue: broker.RequeueUntouched}, larger},
		{"requeue, redelivered", nil, broker.Settlement{Requeue: broker.RequeueRedelivered}, larger},
		{"dead letter", nil, broker.Settlement{Result: failure, DeadLetter: "why"}, larger},
		{"everything", nil, broker.Settlement{Result: failure, DeadLetter: "why", Changes: publish, Requeue: broker.RequeueRedelivered}, larger},
		{"lost, everything", (*scriptWorld).lose, broker.Settlement{Result: success, DeadLetter: "why", Changes: publish, Requeue: broker.RequeueRedelivered}, larger},
		{"mark removed", marked, broker.Settlement{Result: success, Succeeded: true, Mark: &broker.Mark{Task: "f"}}, all},
		{"mark replaced, an entry", marked, broker.Settlement{Result: failure, Mark: &broker.Mark{Task: "f", Value: "end"}, Entries: entries}, all},
		{"entries without a result", nil, broker.Settlement{Succeeded: true, Entries: entries}, all},
		{"entries after SUCCESS", stored(`{"status": "SUCCESS"}`), broker.Settlement{Result: success, Succeeded: true, Entries: entries}, all},
		{"entries, stream of another type", func(w *scriptWorld) { w.do("SET", "_goworker.1.stream.s", "x") }, broker.Settlement{Result: success, Entries: entries}, all},
		{"lost, success with entries", both((*scriptWorld).lose, marked), broker.Settlement{Result: success, Succeeded: true, Mark: &broker.Mark{Task: "f", Value: "end"}, Entries: entries}, all},
		{"lost, success without a result", (*scriptWorld).lose, broker.Settlement{Succeeded: true, Entries: entries}, all},
		{"lost, failure with entries", both((*scriptWorld).lose, marked), broker.Settlement{Result: failure, Mark: &broker.Mark{Task: "f"}, Entries: entries}, all},
		{"retry with entries", marked, broker.Settlement{Result: failure, Changes: publish, Mark: &broker.Mark{Task: "f"}, Entries: entries}, larger},
		{"lost retry with entries", both((*scriptWorld).lose, marked), broker.Settlement{Result: failure, Changes: publish, Mark: &broker.Mark{Task: "f"}, Entries: entries}, larger},
		{"queue of another type", func(w *scriptWorld) { w.do("SET", "q", "x") }, broker.Settlement{Requeue: broker.RequeueUntouched}, larger},
		{"start", nil, broker.Settlement{}, "starts start"},
		{"start after STARTED", stored(`{"status": "STARTED"}`), broker.Settlement{}, "starts start"},
		{"start after SUCCESS", stored(`{"status": "SUCCESS"}`), broker.Settlement{}, "starts start"},
		{"start, lost", (*scriptWorld).lose, broker.Settlement{}, "starts start"},
		{"claim", nil, broker.Settlement{}, "claimseen claim pick"},
		{"stale claim", func(w *scriptWorld) { w.do("HSET", "_goworker.1.owner."+pairOwner, "epoch", 9) }, broker.Settlement{}, "claimseen claim pick"},
	}
}

// Scripts that must do the same write the same keys, announce the same, and return the same.
func TestPairsOfScripts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "no")
	c := server.Conn(0)
	tried := map[[2]string]int{}
	for _, sc := range pairScenes() {
		outcomes := map[string]string{}
		for _, script := range strings.Fields(sc.scripts) {
			w := newScriptWorld(t, server, c)
			if sc.before != nil {
				sc.before(w)
			}
			heard := listen(t, server)
			reply := w.run(script, sc.settlement)
			outcomes[script] = fmt.Sprintf("%s\nannounced %q\n%s", reply, heard(), w.dump())
		}
		for _, pair := range pairs {
			first, ok := outcomes[pair[0]]
			second, also := outcomes[pair[1]]
			if !ok || !also {
				continue
			}
			tried[pair]++
			if first != second {
				t.Errorf("%s: %s.lua and %s.lua differ (-first +second):\n%s", sc.name, pair[0], pair[1],
					cmp.Diff(strings.Split(first, "\n"), strings.Split(second, "\n")))
			}
		}
	}
	for _, pair := range pairs {
		if tried[pair] < 2 {
			t.Errorf("%v: %d scenes", pair, tried[pair])
		}
	}
}

// newScriptWorld empties Redis and claims one message, of two.
func newScriptWorld(t *testing.T, server *redistest.Server, c redigo.Conn) *scriptWorld {
	t.Helper()
	b, err := New(Config{URL: server.URL(0), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	b.consumer.id = pairOwner
	w := &scriptWorld{T: t, b: b, c: c}
	w.do("FLUSHALL")
	for _, id := range []string{"id", "other"} {
		raw, err := protocol.Encode(&protocol.Message{ID: id, Task: "t", Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"), DeliveryTag: id, RoutingKey: "q"})
		if err != nil {
			t.Fatal(err)
		}
		w.do("LPUSH", "q", raw)
	}
	if err := b.Consume(broker.Session{Node: "w@test", Queues: []string{"q"}}); err != nil {
		t.Fatal(err)
	}
	ds, err := b.Claim(t.Context(), 1)
	if err != nil || len(ds) != 1 {
		t.Fatalf("%d messages (%v)", len(ds), err)
	}
	w.d = ds[0]
	return w
}

// run carries out a settlement, or what the script is for, by that script.
func (w *scriptWorld) run(script string, s broker.Settlement) string {
	s.Delivery = w.d
	ctx, se := w.Context(), w.b.settler
	started := starting{claim: w.d.Claim, key: pairResult, value: []byte(`{"status": "STARTED"}`)}
	var err error
	switch script {
	case "finish", "settle":
		var f plain
		if f, err = se.plain(&s); err != nil {
			break
		}
		if script == "finish" {
			err = se.finish(ctx, []plain{f}, false)[0]
		} else {
			err = se.settleOne(ctx, &s)
		}
	case "carry":
		_, err = se.settleByCarry(ctx, &s)
	case "starts":
		err = se.startFirst(ctx, started)
	case "start":
		_, err = se.startAgain(ctx, w.d, broker.Start{}, started.value)
	case "claim", "claimseen", "pick":
		return w.claim(ctx, script)
	}
	return fmt.Sprintf("error %v", err)
}

func (w *scriptWorld) claim(ctx context.Context, script string) string {
	cl := w.b.claimer
	var ds []broker.Delivery
	var err error
	switch script {
	case "claimseen":
		cl.ahead = ahead{size: 1}
		ds, _, err = cl.claimAhead(ctx, 1)
	case "pick":
		raw, readErr := redigo.Bytes(w.c.Do("LINDEX", "q", -1))
		if readErr != nil {
			w.Fatal(readErr)
		}
		ds, err = cl.pickNow(ctx, cl.lists[0], []wanted{{raw: raw}}, 1)
	default:
		var c claimed
		c, err = cl.claimUnread(ctx, 1, nil)
		ds = c.deliveries
	}
	var got []string
	for _, d := range ds {
		got = append(got, d.Claim+" "+d.Queue+" "+string(d.Raw))
	}
	return fmt.Sprintf("claimed %q, registered %v, in doubt %v, failed %v", got, cl.registered, cl.suspect, err != nil)
}

// moment is a time in seconds, as scores and the entries of dead letters have it.
var moment = regexp.MustCompile(`\b\d{10}(\d{3}-\d+|\.\d+)?\b`)

// dump returns all keys with their values, without times.
func (w *scriptWorld) dump() string {
	w.Helper()
	keys, err := redigo.Strings(w.c.Do("KEYS", "*"))
	if err != nil {
		w.Fatal(err)
	}
	slices.Sort(keys)
	read := map[string][]any{
		"string": {"GET"}, "list": {"LRANGE", 0, -1}, "hash": {"HGETALL"}, "zset": {"ZRANGE", 0, -1, "WITHSCORES"}, "set": {"SMEMBERS"}, "stream": {"XRANGE", "-", "+"},
	}
	var out strings.Builder
	for _, key := range keys {
		kind, err := redigo.String(w.c.Do("TYPE", key))
		if err != nil {
			w.Fatal(err)
		}
		command := read[kind]
		value, err := w.c.Do(command[0].(string), append([]any{key}, command[1:]...)...)
		if err != nil {
			w.Fatal(err)
		}
		expires, err := redigo.Int(w.c.Do("TTL", key))
		if err != nil {
			w.Fatal(err)
		}
		fmt.Fprintf(&out, "%s (%s, expires: %d) %s\n", key, kind, (expires+30)/60, moment.ReplaceAllString(fmt.Sprintf("%q", value), "TIME"))
	}
	return out.String()
}

// listen subscribes to all channels. The returned function returns the messages so far.
func listen(t *testing.T, server *redistest.Server) func() []string {
	t.Helper()
	ps := redigo.PubSubConn{Conn: server.Conn(0)}
	if err := ps.PSubscribe("*"); err != nil {
		t.Fatal(err)
	}
	if s, ok := ps.Receive().(redigo.Subscription); !ok {
		t.Fatalf("no subscription: %v", s)
	}
	return func() (heard []string) {
		t.Helper()
		const end = "the end"
		if _, err := server.Conn(0).Do("PUBLISH", end, ""); err != nil {
			t.Fatal(err)
		}
		for {
			switch v := ps.Receive().(type) {
			case redigo.Message:
				if v.Channel == end {
					return heard
				}
				heard = append(heard, v.Channel+" "+string(v.Data))
			case error:
				t.Fatal(v)
			}
		}
	}
}
