package redis_test

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A task is given up with an answer, and a person retries it from the dead
// letters: the old answer, a SUCCESS that nothing replaces, makes way for the
// new one, and the run can tell how old the message is.
func TestRetriedDeadLetterHasANewResult(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	var mended atomic.Bool
	setAside := make(chan time.Time, 10)
	release := make(chan struct{})
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Concurrency: 1, Tasks: map[string]worker.Definition{
		"mail": {Handler: worker.Func(func(ctx context.Context, _ struct{}) (any, error) {
			task, _ := worker.TaskFrom(ctx)
			setAside <- task.SetAside()
			if !mended.Load() {
				return nil, worker.GiveUp("no", "refused")
			}
			<-release
			return "yes", nil
		})},
	}})
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	letter := func() broker.DeadLetter {
		t.Helper()
		var letters []broker.DeadLetter
		eventually(t, "one dead letter", func() bool {
			if letters, _, err = b.Letters().List(t.Context(), 0, 10); err != nil {
				t.Fatal(err)
			}
			return len(letters) == 1
		})
		return letters[0]
	}

	id := send(t, c, "q", "mail", "[]")
	first := letter()
	if got := result(t, c, id); got.Status != "SUCCESS" || string(got.Result) != `"no"` {
		t.Fatalf("the task that was given up is %s with %s", got.Status, got.Result)
	}
	if err := b.Letters().Retry(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	second := letter()
	mended.Store(true)
	if err := b.Letters().Retry(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the third run", func() bool { return len(setAside) == 3 })
	if got := result(t, c, id); got.Status == "SUCCESS" {
		t.Errorf("the old result is still there: %s", got.Result)
	}
	close(release)
	eventually(t, "the new result", func() bool { return string(result(t, c, id).Result) == `"yes"` })

	if at := <-setAside; !at.IsZero() {
		t.Errorf("the first run was told of dead letters of %v", at)
	}
	for range 2 { // the first time counts, however often it happens
		if at := <-setAside; !at.Equal(first.At.Truncate(time.Microsecond)) {
			t.Errorf("set aside at %v, the run was told %v", first.At, at)
		}
	}
	if err := b.Letters().Retry(t.Context(), second.ID); !errors.Is(err, redis.ErrNoDeadLetter) {
		t.Errorf("retried twice: %v", err)
	}
}

// Ids are for people to type.
func TestDeadLetterIDsAreShort(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing()})
	for _, raw := range []string{"nonsense", `{"a": [`, "\xff"} {
		if _, err := c.Do("LPUSH", "q", raw); err != nil {
			t.Fatal(err)
		}
	}
	send(t, c, "q", "unknown", "[]")
	eventually(t, "four dead letters", func() bool {
		ids, err := redigo.Strings(c.Do("ZRANGE", "_goworker.1.dead.index", 0, -1))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if len(id) != 12 {
				t.Fatalf("id %q, want 12 characters", id)
			}
		}
		return len(ids) == 4
	})
}

func TestDeadLetterIDsMayBeShortened(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	for i, id := range []string{"abcd11111111", "abcd22222222", "ef0123456789", "abcd"} {
		for _, cmd := range [][]any{
			{"HSET", "_goworker.1.dead", id, "raw"}, {"HSET", "_goworker.1.dead.meta", id, "{}"}, {"ZADD", "_goworker.1.dead.index", i, id},
		} {
			if _, err := c.Do(cmd[0].(string), cmd[1:]...); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for prefix, want := range map[string]string{
		"ef0123456789": "ef0123456789", "ef01": "ef0123456789", "abcd1": "abcd11111111",
		"abcd": "abcd", // is an id itself
		"abc":  "", "ef0": "", "xxxx": "", "": "", "ef01234567890": "",
	} {
		got, err := b.Letters().Find(t.Context(), prefix)
		if got != want || (want == "") != errors.Is(err, redis.ErrNoDeadLetter) {
			t.Errorf("%q is %q, %v; want %q", prefix, got, err, want)
		}
	}
	if _, err := c.Do("HDEL", "_goworker.1.dead", "abcd"); err != nil {
		t.Fatal(err)
	}
	if id, err := b.Letters().Find(t.Context(), "abcd"); err == nil || errors.Is(err, redis.ErrNoDeadLetter) {
		t.Errorf("the beginning of two is %q, %v", id, err)
	}
}

// Dead letters come while they are listed: the list and their number are those of one moment.
func TestListWhileDeadLettersCome(t *testing.T) {
	const all = 400
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: map[string]worker.Definition{"none": {Handler: worker.Func(func(context.Context, struct{}) (any, error) { return nil, nil })}}})
	b, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range all {
			do(t, c, "LPUSH", "q", "no message")
		}
	}()
	defer func() { <-sent }()
	eventually(t, "all are dead letters", func() bool {
		letters, total, err := b.Letters().List(t.Context(), 0, 2*all)
		if err != nil {
			t.Fatal(err)
		}
		if len(letters) != total {
			t.Fatalf("%d are listed of %d", len(letters), total)
		}
		return total == all
	})
	if page, total, err := b.Letters().List(t.Context(), all-10, 100); err != nil || len(page) != 10 || total != all {
		t.Errorf("the last page has %d of %d: %v", len(page), total, err)
	}
}

// The depth of a queue is that of all its steps. A key of another type has no messages.
func TestDepths(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	b := backend(t, s)
	if err := b.Consume(broker.Session{Node: "w@test", Queues: []string{"a", "b", "empty", "odd"}}); err != nil {
		t.Fatal(err)
	}
	do(t, c, "RPUSH", "a", "1", "2")
	do(t, c, "RPUSH", "a\x06\x163", "3")
	do(t, c, "RPUSH", "b", "1")
	do(t, c, "SET", "odd", "text")
	depths, err := b.Depths(t.Context())
	if want := map[string]int{"a": 3, "b": 1, "empty": 0, "odd": 0}; err != nil || !maps.Equal(depths, want) {
		t.Errorf("depths %v, want %v (%v)", depths, want, err)
	}
	if n, err := b.Depth(t.Context()); n != 4 || err != nil {
		t.Errorf("depth %d, want 4 (%v)", n, err)
	}
}
