package redis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
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

// childVariable holds the URL of a Redis and the point at which a worker in a process of the
// test waits to be killed.
const childVariable = "REDIS_TEST_CHILD"

// sender is the task of a mail. At the point it says so and waits.
func sender(point string, reached func()) worker.Definition {
	at := func(place string) {
		if place == point {
			reached()
			select {}
		}
	}
	return worker.Definition{Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
		at("before the mark")
		earlier, err := task.Mark(ctx, "sending", broker.Entry{Stream: "s", Fields: []string{"what", "marked"}})
		if err != nil {
			return nil, err
		}
		at("after the mark")
		task.EndMark("")
		task.Record("s", "what", "sent after "+earlier)
		return earlier, nil
	})}
}

// child is the main function of a process of the test.
func child(value string) {
	url, point, _ := strings.Cut(value, " ")
	b, err := redis.New(redis.Config{URL: url, OwnerTimeout: time.Second, Logger: quiet()})
	var w *worker.Worker
	if err == nil {
		w, err = worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Concurrency: 1, Logger: quiet(),
			Tasks: map[string]worker.Definition{"send": sender(point, func() { fmt.Println(point) })}})
	}
	if err == nil {
		err = w.Run(context.Background())
	}
	fmt.Println(err)
}

// begin starts a process with a worker that waits at a point.
func begin(t *testing.T, url, point string) (waitFor func(line string), kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+url+" "+point)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	kill = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	return func(line string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != line {
			t.Fatalf("the process says %q, want %q", lines.Text(), line)
		}
	}, kill
}

// loadScripts loads all scripts, so that no reply says that one is missing.
func loadScripts(t testing.TB, c redigo.Conn) {
	t.Helper()
	for _, name := range redis.ScriptNames() {
		do(t, c, "SCRIPT", "LOAD", must(redis.ScriptText(name))(t))
	}
}

// entries returns the second field of each entry of the stream s.
func entries(t testing.TB, c redigo.Conn) (values []string) {
	t.Helper()
	for _, row := range must(redigo.Values(c.Do("XRANGE", "_goworker.1.stream.s", "-", "+")))(t) {
		values = append(values, must(redigo.Strings(row.([]any)[1], nil))(t)[1])
	}
	return values
}

func wantEntries(t testing.TB, c redigo.Conn, want ...string) {
	t.Helper()
	if got := entries(t, c); !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

func markKeys(t testing.TB, c redigo.Conn) []string {
	t.Helper()
	return must(redigo.Strings(c.Do("KEYS", "_goworker.1.mark.*")))(t)
}

// A process is killed around its mark. The run that gets the message finds the mark if it was
// set, and what a run records is there once.
func TestKilledAroundTheMark(t *testing.T) {
	for point, want := range map[string][]string{
		"before the mark": {"marked", "sent after "},
		"after the mark":  {"marked", "marked", "sent after sending"},
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			c := s.Conn(0)
			waitFor, kill := begin(t, s.URL(0), point)
			id := send(t, c, "q", "send", "[]")
			waitFor(point)
			kill()
			runWorker(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second},
				worker.Config{Tasks: map[string]worker.Definition{"send": sender("", nil)}})
			eventually(t, "result", func() bool { return result(t, c, id).Status == "SUCCESS" })
			wantEntries(t, c, want...)
			if marks := markKeys(t, c); len(marks) != 0 {
				t.Errorf("marks %q are left", marks)
			}
		})
	}
}

// A process is killed when its task is settled and the reply is on its way.
func TestKilledAfterTheSettlement(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	loadScripts(t, c)
	k := newCutter(t, s.Addr)
	lost := k.loseOnce("sent after")
	_, kill := begin(t, "redis://"+k.l.Addr().String()+"/0", "nowhere")
	id := send(t, c, "q", "send", "[]")
	eventually(t, "the reply is lost", lost)
	kill()
	eventually(t, "result", func() bool { return result(t, c, id).Status == "SUCCESS" })
	runWorker(t, redis.Config{URL: s.URL(0), OwnerTimeout: time.Second},
		worker.Config{Tasks: map[string]worker.Definition{"send": sender("", nil)}})
	next := send(t, c, "q", "send", "[]")
	eventually(t, "the next result", func() bool { return result(t, c, next).Status == "SUCCESS" })
	wantEntries(t, c, "marked", "sent after ", "marked", "sent after ")
	if marks := markKeys(t, c); len(marks) != 0 {
		t.Errorf("marks %q are left", marks)
	}
}

// Whichever reply gets lost, entries are written once, in every way in which a task is settled.
func TestLostReplyRecordsOnce(t *testing.T) {
	retried := func(*worker.Task) (any, error) {
		return nil, &worker.RetryError{Err: errors.New("no"), Countdown: time.Hour}
	}
	done := func(*worker.Task) (any, error) { return nil, nil }
	redelivered := func(t *testing.T, c redigo.Conn, id string) {
		raw := must(redigo.Bytes(c.Do("RPOP", "held back")))(t)
		raw = must(protocol.MarkRedelivered(raw))(t)
		do(t, c, "LPUSH", "q", raw)
	}
	for name, way := range map[string]struct {
		outcome func(*worker.Task) (any, error)
		ignored bool
		change  func(*protocol.Message)
		push    func(*testing.T, redigo.Conn, string)
	}{
		"a success":                         {outcome: done},
		"a success whose result is ignored": {outcome: done, ignored: true},
		"a retry":                           {outcome: retried},
		"a failure":                         {outcome: func(*worker.Task) (any, error) { return nil, errors.New("no") }},
		"a redelivered one, ignored":        {outcome: done, ignored: true, push: redelivered},
		"a redelivered one":                 {outcome: done, push: redelivered},
		"given up":                          {outcome: func(*worker.Task) (any, error) { return nil, worker.GiveUp(1, "why") }},
		"a chord member":                    {outcome: done, change: memberOf("g")},
		"a chord member, ignored":           {outcome: done, ignored: true, change: memberOf("g")},
		"replaced by a group of many": {outcome: func(*worker.Task) (any, error) {
			return nil, worker.Replace(canvas.Group(canvas.New("a"), canvas.New("b")))
		}},
		"a success after another's success": {outcome: done, push: succeededBefore},
	} {
		for _, text := range []string{"sending", "ended"} {
			t.Run(name+", the reply to "+text, func(t *testing.T) {
				t.Parallel()
				s := redistest.Start(t, "--appendonly", "no")
				c := s.Conn(0)
				loadScripts(t, c)
				k := newCutter(t, s.Addr)
				lost := k.loseOnce(text)
				handler := worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
					for {
						earlier, err := task.Mark(ctx, "sending", broker.Entry{Stream: "s", Fields: []string{"what", "marked"}})
						if err == nil && earlier != "" {
							t.Errorf("the run finds its own mark %q", earlier)
						}
						if err == nil {
							break
						}
					}
					task.EndMark("")
					task.Record("s", "what", "ended")
					return way.outcome(task)
				})
				runWorker(t, redis.Config{URL: "redis://" + k.l.Addr().String() + "/0"}, worker.Config{Concurrency: 1,
					Tasks: map[string]worker.Definition{"send": {Handler: handler, IgnoreResult: way.ignored}}})
				var change []func(*protocol.Message)
				if way.change != nil {
					change = append(change, way.change)
				}
				if way.push == nil {
					send(t, c, "q", "send", "[]", change...)
				} else {
					way.push(t, c, send(t, c, "held back", "send", "[]", append(change, func(m *protocol.Message) { m.RoutingKey = "q" })...))
				}
				eventually(t, "the reply is lost, and the task is settled", func() bool {
					return lost() && count(t, c, "HLEN", "unacked") <= 1 && len(entries(t, c)) >= 2 && count(t, c, "LLEN", "q") == 0
				})
				time.Sleep(300 * time.Millisecond) // what is tried again has been by then
				wantEntries(t, c, "marked", "ended")
				if marks := markKeys(t, c); len(marks) != 0 {
					t.Errorf("marks %q are left", marks)
				}
			})
		}
	}
}

// succeededBefore pushes a message whose task has a SUCCESS of another run.
func succeededBefore(t *testing.T, c redigo.Conn, id string) {
	do(t, c, "SET", "celery-task-meta-"+id, `{"status": "SUCCESS", "result": null}`)
	do(t, c, "RPOPLPUSH", "held back", "q")
}

// memberOf makes a message a member of a chord of two.
func memberOf(group string) func(*protocol.Message) {
	return func(m *protocol.Message) {
		m.Group = group
		m.Chord = protocol.Raw(`{"task": "body", "args": [], "kwargs": {}, "options": {"task_id": "body"}, "subtask_type": null, "immutable": false, "chord_size": 2}`)
	}
}

// A stream that refuses entries lets tasks end, counts what it loses, and says what to do.
func TestStreamThatRefuses(t *testing.T) {
	for name, way := range map[string]struct {
		args   []string
		before []any
		fault  string
		mend   []any
	}{
		"another type":    {before: []any{"SET", "_goworker.1.stream.s", "x"}, fault: "RENAME _goworker.1.stream.s", mend: []any{"DEL", "_goworker.1.stream.s"}},
		"no right":        {before: []any{"ACL", "SETUSER", "default", "-xadd"}, fault: "grant +xadd", mend: []any{"ACL", "SETUSER", "default", "+xadd"}},
		"no such command": {args: []string{"--rename-command", "XADD", ""}, fault: "use Redis 5 or newer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t, way.args...)
			c := s.Conn(0)
			if way.before != nil {
				do(t, c, way.before[0].(string), way.before[1:]...)
			}
			b := must(redis.New(redis.Config{URL: s.URL(0), Logger: quiet()}))(t)
			w := must(worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Logger: quiet(),
				Tasks: map[string]worker.Definition{"send": sender("", nil)}}))(t)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			id := send(t, c, "q", "send", "[]")
			eventually(t, "the task ends", func() bool { return result(t, c, id).Status == "SUCCESS" })
			eventually(t, "the fault is told", func() bool { return strings.Contains(strings.Join(b.Faults(), "\n"), way.fault) })
			if n := must(redigo.Int(c.Do("HGET", "_goworker.1.losses.s", "refused")))(t); n != 2 {
				t.Errorf("%d entries are counted as dropped, want 2", n)
			}
			if way.mend == nil {
				return
			}
			do(t, c, way.mend[0].(string), way.mend[1:]...)
			send(t, c, "q", "send", "[]")
			eventually(t, "entries are written again", func() bool { return len(entries(t, c)) == 2 })
			if l := must(b.Backlog(ctx, "s"))(t); l.Dropped != 2 || l.Length != 2 || l.Oldest.IsZero() {
				t.Errorf("backlog %+v", l)
			}
		})
	}
}

// A mark that cannot be set is an error that says why, and nothing is set.
func TestMarkThatCannotBeSet(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	consumer := newConsumer(t, redis.Config{URL: s.URL(0)})
	send(t, c, "q", "send", "[]")
	d := consumer.claim(t, 1)[0]
	m := broker.Marking{Mark: broker.Mark{Task: "f", Value: "v"}, Claim: d.Claim, Run: d.Claim,
		Entries: []broker.Entry{{Stream: "s", Fields: []string{"a", "b"}}}}
	for name, way := range map[string]struct {
		before, after []any
		fault         string
	}{
		"another type": {[]any{"RPUSH", "_goworker.1.mark.f", "x"}, []any{"DEL", "_goworker.1.mark.f"}, "RENAME _goworker.1.mark.f"},
		"no right":     {[]any{"ACL", "SETUSER", "default", "-set"}, []any{"ACL", "SETUSER", "default", "+set"}, "docs/operations.md"},
		"full":         {[]any{"CONFIG", "SET", "maxmemory", 1}, []any{"CONFIG", "SET", "maxmemory", 0}, "OOM"},
	} {
		do(t, c, way.before[0].(string), way.before[1:]...)
		_, err := consumer.Mark(t.Context(), m)
		if err == nil || !strings.Contains(err.Error(), way.fault) {
			t.Errorf("%s: Mark: %v, want %q", name, err, way.fault)
		}
		do(t, c, way.after[0].(string), way.after[1:]...)
		if n := count(t, c, "XLEN", "_goworker.1.stream.s"); n != 0 || len(markKeys(t, c)) != 0 {
			t.Errorf("%s: %d entries, marks %q", name, n, markKeys(t, c))
		}
	}
	if earlier, err := consumer.Mark(t.Context(), m); earlier != "" || err != nil {
		t.Errorf("once it is mended: %q, %v", earlier, err)
	}
	if ttl := count(t, c, "TTL", "_goworker.1.mark.f"); ttl < 604700 || ttl > 604800 {
		t.Errorf("the mark lasts %d seconds", ttl)
	}
}

// A full Redis takes a settlement with its entries, or refuses it until it has room.
func TestEntriesWaitForAFullRedis(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	consumer := newConsumer(t, redis.Config{URL: s.URL(0)})
	send(t, c, "q", "send", "[]")
	settlement := broker.Settlement{Delivery: consumer.claim(t, 1)[0], Mark: &broker.Mark{Task: "f", Value: "v"},
		Entries: []broker.Entry{{Stream: "s", Fields: []string{"a", "b"}}}}
	do(t, c, "CONFIG", "SET", "maxmemory", 1)
	refused := settled(consumer.Settle(t.Context(), settlement))
	do(t, c, "CONFIG", "SET", "maxmemory", 0)
	if refused != nil {
		if n := count(t, c, "HLEN", "unacked"); n != 1 || len(entries(t, c)) != 0 {
			t.Errorf("%v, and %d messages are unacknowledged, want 1", refused, n)
		}
		if err := settled(consumer.Settle(t.Context(), settlement)); err != nil {
			t.Errorf("Settle: %v", err)
		}
	}
	wantEntries(t, c, "b")
}

// A full stream drops its oldest entries, and counts them.
func TestFullStream(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	consumer := newConsumer(t, redis.Config{URL: s.URL(0), StreamMax: 100})
	const n = 1000
	for i := range n {
		send(t, c, "q", "send", "[]")
		e := broker.Entry{Stream: "s", Fields: []string{"n", fmt.Sprint(i)}}
		if err := settled(consumer.Settle(t.Context(), broker.Settlement{Delivery: consumer.claim(t, 1)[0], Entries: []broker.Entry{e}})); err != nil {
			t.Fatal(err)
		}
	}
	l := must(consumer.Backlog(t.Context(), "s"))(t)
	if l.Length < 100 || l.Length > 300 || l.Dropped != int64(n-l.Length) {
		t.Errorf("backlog %+v, want about 100 and the rest of %d dropped", l, n)
	}
	got := entries(t, c)
	for i := range got {
		if want := fmt.Sprint(n - len(got) + i); got[i] != want {
			t.Fatalf("entry %d is %q, want %q", i, got[i], want)
		}
	}
}
