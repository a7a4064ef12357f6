package redis_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
	"github.com/evently/workers/worker/workertest"
)

// oldLetter stores a dead letter as earlier versions did.
func oldLetter(t *testing.T, c redigo.Conn, id string, at float64, raw string) {
	t.Helper()
	do(t, c, "HSET", "_goworker.1.dead", id, raw)
	do(t, c, "HSET", "_goworker.1.dead.meta", id, fmt.Sprintf(`{"queue":"q","reason":"refused","at":"%f"}`, at))
	do(t, c, "ZADD", "_goworker.1.dead.index", at, id)
}

// now returns the time as scripts write it.
func now() float64 { return float64(time.Now().UnixMicro()) / 1e6 }

func letterRaw(t testing.TB, change func(*protocol.Message)) (id, raw string) {
	t.Helper()
	m := &protocol.Message{ID: fmt.Sprint("task-", counter.Add(1)), Task: "mail", RoutingKey: "q", DeliveryTag: "tag",
		Args: protocol.Raw(`["alice@example.com", 7]`), Kwargs: protocol.Raw(`{"code": "739155"}`)}
	if change != nil {
		change(m)
	}
	b, err := protocol.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return m.ID, string(b)
}

var counter atomic.Int64

// Letters are read in pages. Letters that come and go meanwhile do not move the others.
func TestEachDeadLetterOnce(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	letters := backend(t, s).Letters()
	var want []string
	at := now()
	for i := range 330 {
		// A hundred have one time, as letters of one script do.
		_, raw := letterRaw(t, nil)
		id := fmt.Sprintf("id%03d", i)
		oldLetter(t, c, id, at-1000+float64(max(i, 100)), raw)
		want = append(want, id)
	}
	slices.Reverse(want)
	var got []string
	err := letters.Each(t.Context(), func(l broker.DeadLetter) error {
		got = append(got, l.ID)
		if n := len(got); n == 20 || n == 120 || n == 220 {
			oldLetter(t, c, fmt.Sprint("new", n), now(), "x")
			next := want[n+60] // not yet seen
			want = slices.DeleteFunc(want, func(id string) bool { return id == next })
			if err := letters.Delete(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			if err := letters.Resolve(t.Context(), want[n+70], "ann", ""); err != nil { // still has its turn
				t.Fatal(err)
			}
			if err := letters.Delete(t.Context(), got[n-10]); err != nil { // seen before
				t.Fatal(err)
			}
		}
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d letters, want %d (%v)\n%v\n%v", len(got), len(want), err, got, want)
	}
	stop := errors.New("stop")
	if err := letters.Each(t.Context(), func(broker.DeadLetter) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped with %v", err)
	}
	n := 0
	for range 2 {
		if err := letters.Each(t.Context(), func(l broker.DeadLetter) error { n++; return nil }, broker.LetterDealtWith); err != nil {
			t.Fatal(err)
		}
	}
	if n != 6 {
		t.Errorf("dealt with are %d, want 6", n)
	}
}

// The first call puts a letter back. The others learn who it was.
func TestConcurrentRetriesPublishOnce(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	a, b := backend(t, s), backend(t, s)
	const all = 20
	for i := range all {
		_, raw := letterRaw(t, nil)
		oldLetter(t, c, fmt.Sprintf("id%02d", i), now(), raw)
	}
	var done, refused atomic.Int64
	var wg sync.WaitGroup
	for g := range 50 {
		letters := []*redis.Letters{a.Letters(), b.Letters()}[g%2]
		wg.Go(func() {
			for i := range all {
				id := fmt.Sprintf("id%02d", (i+g)%all)
				var err error
				switch g % 3 {
				case 0:
					err = letters.Retry(t.Context(), id)
				case 1:
					err = letters.RetryMany(t.Context(), []string{id}, "bob", "mended")[0]
				default:
					_, raw := letterRaw(t, nil)
					_, err = letters.Replace(t.Context(), id, []byte(raw), "carol", "typo")
				}
				var other *broker.LetterStateError
				switch {
				case err == nil:
					done.Add(1)
				case errors.As(err, &other) && (other.State == broker.LetterRetried || other.State == broker.LetterReplaced) && !other.At.IsZero():
					refused.Add(1)
				default:
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, c, "LLEN", "q"); n != all || done.Load() != all || refused.Load() != 49*all {
		t.Errorf("%d messages, %d done, %d refused; want %d, %d, %d", n, done.Load(), refused.Load(), all, all, 49*all)
	}
}

// A letter goes through its states.
func TestStatesOfADeadLetter(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	letters := backend(t, s).Letters()
	task, raw := letterRaw(t, nil)
	oldLetter(t, c, "aaaa", now(), raw)
	get := func() broker.DeadLetter {
		t.Helper()
		return must(letters.Get(t.Context(), "aaaa"))(t)
	}
	if l := get(); l.State != broker.LetterOpen || l.TaskID != task || l.TaskName != "mail" || string(l.Raw) != raw || l.Size != len(raw) {
		t.Errorf("an old letter is %+v", l)
	}
	var wrong *broker.LetterStateError
	if err := letters.Reopen(t.Context(), "aaaa", "ann", ""); !errors.As(err, &wrong) || wrong.State != broker.LetterOpen {
		t.Errorf("an open letter is reopened: %v", err)
	}
	if err := letters.Resolve(t.Context(), "aaaa", "ann", "called her"); err != nil {
		t.Fatal(err)
	}
	if l := get(); l.State != broker.LetterDealtWith || l.By != "ann" || l.Note != "called her" || time.Since(l.StateAt) > time.Minute || string(l.Raw) != raw {
		t.Errorf("dealt with: %+v", l)
	}
	if _, total, err := letters.List(t.Context(), 0, 10); total != 0 || err != nil {
		t.Errorf("%d open letters, %v", total, err)
	}
	for _, err := range []error{letters.Resolve(t.Context(), "aaaa", "bob", ""), letters.Retry(t.Context(), "aaaa"), replace(t, letters, "aaaa", raw)} {
		if !errors.As(err, &wrong) || wrong.State != broker.LetterDealtWith || wrong.By != "ann" {
			t.Errorf("a letter that is dealt with: %v", err)
		}
	}
	if err := letters.Reopen(t.Context(), "aaaa", "ann", "not done"); err != nil {
		t.Fatal(err)
	}
	if l := get(); l.State != broker.LetterOpen || l.Note != "not done" || string(l.Raw) != raw {
		t.Errorf("reopened: %+v", l)
	}
	id, err := letters.Replace(t.Context(), "aaaa", []byte(raw), "ann", "typo")
	if err != nil {
		t.Fatal(err)
	}
	l := get()
	if l.State != broker.LetterReplaced || l.ReplacedBy != id || id == task || !l.Wiped || l.TaskID != task {
		t.Errorf("replaced by %s: %+v", id, l)
	}
	m, err := protocol.Decode(must(redigo.Bytes(c.Do("LINDEX", "q", 0)))(t), protocol.Limits{})
	if err != nil || m.ID != id || string(m.Header(broker.ReplacesHeader)) != `"aaaa"` || string(m.Args) != `["alice@example.com", 7]` || m.RootID != id {
		t.Errorf("the copy is %+v, %v", m, err)
	}
	if n := count(t, c, "LLEN", "q"); n != 1 {
		t.Errorf("%d messages", n)
	}
	if err := letters.Delete(t.Context(), "aaaa"); err != nil {
		t.Error(err)
	}
	if _, err := letters.Get(t.Context(), "aaaa"); !errors.Is(err, broker.ErrNoDeadLetter) {
		t.Errorf("deleted: %v", err)
	}
}

func replace(t *testing.T, letters *redis.Letters, id, raw string) error {
	_, err := letters.Replace(t.Context(), id, []byte(raw), "bob", "")
	return err
}

func TestLettersAsInMemory(t *testing.T) {
	for name, sealer := range map[string]broker.Sealer{"clear": nil, "encrypted": box(t, firstSecret)} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t)
			f := fixture(t, s.Conn(0), redis.Config{URL: s.URL(0), Sealer: sealer})
			workertest.TestLetters(t, f, f.Broker.(*redis.Broker).Letters())
		})
	}
}
