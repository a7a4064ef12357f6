package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

func succeeds(d broker.Delivery, value string) broker.Settlement {
	env, err := protocol.ParseEnvelope(d.Raw)
	if err != nil {
		panic(err)
	}
	return broker.Settlement{Delivery: d, Result: &protocol.Result{TaskID: env.ID, Status: protocol.StateSuccess, Result: protocol.Raw(value), DateDone: time.Now()}}
}

// begins is the beginning of a run, as STARTED.
func begins(d broker.Delivery) broker.Start {
	r := succeeds(d, "null").Result
	r.Status = protocol.StateStarted
	return broker.Start{Result: r}
}

// claimed starts a server and a consumer that holds n messages.
func claimed(t *testing.T, n int) (redigo.Conn, *consumer, []broker.Delivery) {
	t.Helper()
	s := redistest.Start(t)
	c := s.Conn(0)
	for range n {
		send(t, c, "q", "t", "[]")
	}
	w := newConsumer(t, redis.Config{URL: s.URL(0)})
	var ds []broker.Delivery
	for len(ds) < n {
		ds = append(ds, w.claim(t, min(n, 100))...)
	}
	return c, w, ds
}

// Deliveries that end at the same time end in few round trips, each in its own way.
func TestManyEndTogether(t *testing.T) {
	const n = 300
	c, w, ds := claimed(t, n)
	ids := make([]string, n)
	for i, d := range ds {
		ids[i] = must(protocol.ParseEnvelope(d.Raw))(t).ID
	}
	// Some are not ours any more, and one of them has failed; the results of
	// others are there already.
	for i := 0; i < n; i += 10 {
		do(t, c, "HDEL", "unacked", ds[i].Claim)
		do(t, c, "ZREM", "unacked_index", ds[i].Claim)
	}
	do(t, c, "SET", "celery-task-meta-"+ids[1], `{"status": "SUCCESS", "result": "first"}`)
	do(t, c, "SET", "celery-task-meta-"+ids[2], `{"status": "FAILURE", "result": "first"}`)
	do(t, c, "LPUSH", "celery-task-meta-"+ids[3], "no result")
	do(t, c, "CONFIG", "RESETSTAT")

	settlements := make([]broker.Settlement, n)
	for i, d := range ds {
		st := succeeds(d, fmt.Sprint(i))
		switch {
		case i == 10:
			st.Result.Status, st.Result.Exception = protocol.StateFailure, &protocol.Exception{Type: "ValueError"}
		case i%10 == 7:
			st.Result = nil // ignored
		}
		settlements[i] = st
	}
	errs := w.SettleAll(t.Context(), settlements)

	for i := range ds {
		if lost := i%10 == 0; lost != errors.Is(errs[i], broker.ErrLost) || !lost && errs[i] != nil {
			t.Errorf("delivery %d: %v", i, errs[i])
		}
		var got string
		if i != 3 {
			got, _ = redigo.String(c.Do("GET", "celery-task-meta-"+ids[i]))
		}
		switch {
		case i == 1:
			if !strings.Contains(got, "first") {
				t.Errorf("a SUCCESS was replaced by %s", got)
			}
		case i == 10, i%10 == 7:
			if got != "" {
				t.Errorf("delivery %d has the result %s", i, got)
			}
		case i == 3:
			if n := count(t, c, "LLEN", "celery-task-meta-"+ids[3]); n != 1 {
				t.Error("a key of another type was replaced")
			}
		default:
			if r := result(t, c, ids[i]); r.Status != "SUCCESS" || string(r.Result) != fmt.Sprint(i) {
				t.Errorf("delivery %d has the result %+v", i, r)
			}
		}
	}
	if n := count(t, c, "HLEN", "unacked"); n != 0 {
		t.Errorf("%d are unacknowledged", n)
	}
	if n := count(t, c, "ZCARD", "unacked_index"); n != 0 {
		t.Errorf("%d claims are in the index", n)
	}
	if scripts := calls(t, c, "evalsha"); scripts > n/50 {
		t.Errorf("%d scripts for %d deliveries", scripts, n)
	}
}

// calls is how often the server has carried out a command since its statistics were
// reset. Never is a fault of the test.
func calls(t testing.TB, c redigo.Conn, command string) (n int) {
	t.Helper()
	stats := must(redigo.String(c.Do("INFO", "commandstats")))(t)
	_, after, _ := strings.Cut(stats, "cmdstat_"+command+":calls=")
	if _, err := fmt.Sscanf(after, "%d", &n); err != nil {
		t.Fatalf("calls of %s: %v", command, err)
	}
	return n
}

// A caller that gives up waiting does not affect the others, not even the first of a batch.
func TestLeaderGivesUp(t *testing.T) {
	t.Parallel()
	const n = 40
	c, w, ds := claimed(t, n)
	do(t, c, "CLIENT", "PAUSE", 700, "ALL")
	errs := make([]error, n)
	var all sync.WaitGroup
	for i, d := range ds {
		all.Go(func() {
			ctx := t.Context()
			if i%2 == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(50+10*i)*time.Millisecond)
				defer cancel()
			}
			_, errs[i] = w.Start(ctx, d, begins(d))
		})
	}
	all.Wait()
	for i, err := range errs {
		if i%2 == 1 && err != nil || i%2 == 0 && err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("delivery %d: %v", i, err)
		}
	}
	if _, err := w.Start(t.Context(), ds[0], begins(ds[0])); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// An error of the server reaches all that were in the round trip, and the next one
// works.
func TestTogetherRefused(t *testing.T) {
	const n = 20
	c, w, ds := claimed(t, n)
	do(t, c, "CONFIG", "SET", "maxmemory", 1)
	settle := func() (failed int) {
		var settlements []broker.Settlement
		for _, d := range ds {
			settlements = append(settlements, succeeds(d, "1"))
		}
		for _, err := range w.SettleAll(t.Context(), settlements) {
			if err != nil {
				failed++
			}
		}
		return failed
	}
	if failed := settle(); failed != n {
		t.Errorf("%d of %d are refused by a server that is full", failed, n)
	}
	if held := count(t, c, "HLEN", "unacked"); held != n {
		t.Errorf("%d of %d are held after that", held, n)
	}
	do(t, c, "CONFIG", "SET", "maxmemory", 0)
	if failed := settle(); failed != 0 {
		t.Errorf("%d fail when there is room again", failed)
	}
}

// With a backlog, messages are read before they are claimed. Bad messages, and those not read
// then, are handled as without one.
func TestBacklogWithBadOnes(t *testing.T) {
	const n = 500
	s := redistest.Start(t)
	c := s.Conn(0)
	var want []string
	bad := 0
	for i := range n {
		switch {
		case i%50 == 20:
			do(t, c, "LPUSH", "q", fmt.Sprintf("garbage %d", i))
			bad++
		case i%50 == 30: // what Redis' parser takes and Python's does not
			do(t, c, "LPUSH", "q", fmt.Sprintf(`{"body": "", "headers": {}, "properties": {"delivery_tag": "x", "delivery_info": {"exchange": "", "routing_key": "q"}}, "n": 0x%d}`, i))
			bad++
		case i%50 == 40: // a typed object that kombu does not know
			do(t, c, "LPUSH", "q", fmt.Sprintf(`{"body": "", "headers": {"x": {"__type__": "no%d", "__value__": 1}}, "properties": {"delivery_tag": "x", "delivery_info": {"exchange": "", "routing_key": "q"}}}`, i))
			bad++
		default:
			want = append(want, send(t, c, "q", "t", "[]"))
		}
	}
	left, right := newConsumer(t, redis.Config{URL: s.URL(0)}), newConsumer(t, redis.Config{URL: s.URL(0)})
	got := map[string]int{}
	for len(got) < len(want) {
		for _, w := range []*consumer{left, right} {
			ds, err := w.Claim(t.Context(), 16)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range ds {
				got[must(protocol.ParseEnvelope(d.Raw))(t).ID]++
			}
		}
	}
	for _, id := range want {
		if got[id] != 1 {
			t.Errorf("message %s was claimed %d times", id, got[id])
		}
	}
	eventually(t, "the rest is in the dead letters", func() bool {
		_, err := left.Claim(t.Context(), 16)
		if err != nil {
			t.Fatal(err)
		}
		return count(t, c, "HLEN", "_goworker.1.dead") == bad
	})
	for _, entry := range must(redigo.Strings(c.Do("HVALS", "unacked")))(t) {
		if _, err := protocol.ParseEntry([]byte(entry)); err != nil || strings.Contains(entry, "__type__") {
			t.Errorf("entered as unacknowledged: %s", entry)
		}
	}
}

// Who subscribes a moment after a result was announced hears of it all the same, when
// it is that of a task that follows another.
func TestLateListener(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	w := newConsumer(t, redis.Config{URL: s.URL(0)})
	w.run(t)
	for i, parent := range []string{"", "parent", "parent"} {
		send(t, c, "q", "t", "[]")
		d := w.claim(t, 1)[0]
		st := succeeds(d, "1")
		st.Result.ParentID = parent
		if i == 2 { // track_started
			do(t, c, "SET", "celery-task-meta-"+st.Result.TaskID, `{"status": "STARTED"}`)
		}
		if err := settled(w.Settle(t.Context(), st)); err != nil {
			t.Fatal(err)
		}
		sub := redigo.PubSubConn{Conn: s.Conn(0)}
		if err := sub.Subscribe("celery-task-meta-" + st.Result.TaskID); err != nil {
			t.Fatal(err)
		}
		var got []string
		for len(got) < 2 {
			m := sub.ReceiveWithTimeout(1500 * time.Millisecond)
			if message, ok := m.(redigo.Message); ok {
				got = append(got, string(message.Data))
			} else if _, failed := m.(error); failed {
				break
			} else {
				got = append(got, "subscribed")
			}
		}
		if heard := len(got) == 2; heard != (parent != "") {
			t.Errorf("task %d with the parent %q: heard %q", i, parent, got)
		}
	}
}

// A right that is missing is no result that is there: nothing is acknowledged of which
// the result is not stored.
func TestResultWithoutRights(t *testing.T) {
	c, w, ds := claimed(t, 1)
	id := must(protocol.ParseEnvelope(ds[0].Raw))(t).ID
	do(t, c, "SET", "celery-task-meta-"+id, `{"status": "STARTED"}`)
	do(t, c, "ACL", "SETUSER", "default", "-getrange")
	if _, err := w.Settle(t.Context(), succeeds(ds[0], "1")); err == nil {
		t.Error("settled without GETRANGE")
	}
	if n := count(t, c, "HLEN", "unacked"); n != 1 {
		t.Errorf("%d unacknowledged, want 1", n)
	}
	do(t, c, "ACL", "SETUSER", "default", "+getrange")
	if _, err := w.Settle(t.Context(), succeeds(ds[0], "1")); err != nil {
		t.Error(err)
	}
	if got := result(t, c, id).Status; got != "SUCCESS" {
		t.Errorf("state %s", got)
	}
}

// A hint that STARTED is stored decides nothing: neither a SUCCESS is replaced for it nor
// a key that holds something else.
func TestTrackedReplacesNoSuccess(t *testing.T) {
	for name, tc := range map[string]struct {
		before []any
		want   string
	}{
		"nothing": {nil, "FAILURE"},
		"STARTED": {[]any{"SET", `{"status": "STARTED"}`}, "FAILURE"},
		"SUCCESS": {[]any{"SET", `{"status": "SUCCESS"}`}, "SUCCESS"},
		"a list":  {[]any{"LPUSH", "x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, w, ds := claimed(t, 1)
			key := "celery-task-meta-" + must(protocol.ParseEnvelope(ds[0].Raw))(t).ID
			if tc.before != nil {
				do(t, c, tc.before[0].(string), key, tc.before[1])
			}
			st := succeeds(ds[0], "null")
			st.Tracked, st.Result.Status, st.Result.Exception = true, protocol.StateFailure, &protocol.Exception{Type: "ValueError"}
			if err := errors.Join(w.SettleAll(t.Context(), []broker.Settlement{st})...); err != nil {
				t.Fatal(err)
			}
			got, _ := redigo.String(c.Do("GET", key))
			if tc.want == "" && count(t, c, "LLEN", key) != 1 || tc.want != "" && !strings.Contains(got, tc.want) {
				t.Errorf("%s is stored, want %s", got, tc.want)
			}
			if n := count(t, c, "HLEN", "unacked"); n != 0 {
				t.Errorf("%d are unacknowledged", n)
			}
		})
	}
}
