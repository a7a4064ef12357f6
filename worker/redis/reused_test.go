package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// sendAgain sends a message that says that it was delivered before.
func sendAgain(t testing.TB, c interface {
	Do(string, ...any) (any, error)
}, m protocol.Message) {
	t.Helper()
	raw, err := protocol.Encode(&m)
	if err == nil {
		raw, err = protocol.MarkRedelivered(raw)
	}
	if err == nil {
		_, err = c.Do("LPUSH", "q", raw)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A producer that uses an id twice has two tasks: the SUCCESS of the first does not
// swallow the second when that is delivered again. A message that has succeeded does not
// run again, also when Python has written it anew.
func TestIDUsedTwice(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	var mu sync.Mutex
	var ran []string
	prints := map[string]string{}
	note := func(ctx context.Context, in struct{ X, Y any }) (any, error) {
		task, _ := worker.TaskFrom(ctx)
		mu.Lock()
		defer mu.Unlock()
		what := fmt.Sprint(task.Name, in.X)
		ran = append(ran, what)
		prints[task.Fingerprint()] = what
		return nil, nil
	}
	definition := worker.Definition{Handler: worker.Func(note)}
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{DeduplicateSuccessful: true, TrackStarted: true, Concurrency: 1,
		Tasks: map[string]worker.Definition{"confirm": definition, "cancel": definition}})
	runs := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(ran)
	}
	tag := 0
	message := func(task, args, kwargs string) protocol.Message {
		tag++
		return protocol.Message{ID: "booking-7", Task: task, Args: protocol.Raw(args), Kwargs: protocol.Raw(kwargs), DeliveryTag: fmt.Sprint(tag), RoutingKey: "q"}
	}
	first := message("confirm", `["a", 1.50]`, `{}`)
	send(t, c, "q", first.Task, string(first.Args), func(m *protocol.Message) { *m = first })
	eventually(t, "the first has run", func() bool { return len(runs()) == 1 && result(t, c, "booking-7").Status == "SUCCESS" })
	for i, m := range []protocol.Message{
		message("cancel", `["a", 1.50]`, `{}`), // another task
		message("confirm", `["b", 1.50]`, `{}`),
		message("confirm", `["a", "1.5"]`, `{}`),
	} {
		sendAgain(t, c, m)
		eventually(t, "another task of the id has run", func() bool { return len(runs()) == i+2 })
	}
	// The first itself, as it was, and as others would write it.
	for _, args := range []string{`["a", 1.50]`, `[ "\u0061",1.5e0 ]`} {
		sendAgain(t, c, message("confirm", args, `{}`))
	}
	// What Python has stored has no fingerprint: there the id decides, as it does in Celery.
	do(t, c, "SET", "celery-task-meta-python", `{"status": "SUCCESS", "result": {"_fingerprint": "00", "task_id": "x"}, "traceback": null, "children": [], "date_done": null, "task_id": "python"}`)
	python := message("confirm", `["python", 0]`, `{}`)
	python.ID = "python"
	sendAgain(t, c, python)
	id := send(t, c, "q", "cancel", `["last", 0]`)
	eventually(t, "the last has run", func() bool { return result(t, c, id).Status == "SUCCESS" })
	want := []string{"confirma", "cancela", "confirmb", "confirma", "cancellast"}
	if got := runs(); !slices.Equal(got, want) {
		t.Errorf("ran %q, want %q", got, want)
	}
	if len(prints) != len(want) {
		t.Errorf("%d fingerprints of %d tasks: %v", len(prints), len(want), prints)
	}
	if raw := string(do(t, c, "GET", "celery-task-meta-booking-7").([]byte)); !json.Valid([]byte(raw)) || !strings.Contains(raw, `"_fingerprint"`) {
		t.Errorf("result %s", raw)
	}
}

// Messages that share an id are not one that never comes to an end.
func TestCrashesOfAnIDUsedTwice(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing(), Concurrency: 1, MaxRedeliveries: 3})
	for i := range 5 {
		do(t, c, "HSET", fmt.Sprintf("_goworker.1.crashes.shared:%d", i), "n", 1, "claim", "x")
		sendAgain(t, c, protocol.Message{ID: "shared", Task: "nothing", DeliveryTag: fmt.Sprint(i), RoutingKey: "q"})
	}
	// And without any id in the envelope: protocol 1 has it in the body.
	for i := range 5 {
		do(t, c, "LPUSH", "q", fmt.Sprintf(`{"body": "{\"task\": \"nothing\", \"id\": \"one-%d\"}", "content-type": "application/json", "headers": {"redelivered": true}, `+
			`"properties": {"delivery_tag": "one-%d", "delivery_info": {"exchange": "", "routing_key": "q"}}}`, i, i))
	}
	for i := range 5 {
		eventually(t, "each has run", func() bool { return result(t, c, fmt.Sprint("one-", i)).Status == "SUCCESS" })
	}
	if n := count(t, c, "HLEN", "_goworker.1.dead"); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
	if n := count(t, c, "EXISTS", "celery-task-meta-"); n != 0 {
		t.Error("a result without an id")
	}
}

// A worker that was started later knows what others have run, and nothing of a
// fingerprint tells of the arguments without the secret.
func TestFingerprintIsShared(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	prints := make(chan string, 4)
	tasks := map[string]worker.Definition{"code": {Handler: worker.Func(func(ctx context.Context, in struct{ Code string }) (any, error) {
		task, _ := worker.TaskFrom(ctx)
		prints <- task.Fingerprint()
		return nil, nil
	})}}
	once := func() string {
		_, stop := runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: tasks})
		defer stop()
		send(t, c, "q", "code", `["123456"]`, func(m *protocol.Message) { m.ID = "i" })
		return <-prints
	}
	first := once()
	if again := once(); again != first {
		t.Errorf("two workers, two fingerprints: %s and %s", first, again)
	}
	do(t, c, "DEL", "_goworker.1.secret")
	if other := once(); other == first {
		t.Error("another secret, the same fingerprint")
	}
	// A key of a wrong type costs the recognition, not the consuming.
	do(t, c, "DEL", "_goworker.1.secret")
	do(t, c, "RPUSH", "_goworker.1.secret", "x")
	if once() == "" {
		t.Error("no fingerprint")
	}
}
