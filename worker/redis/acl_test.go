package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
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

// recipe is the user of docs/operations.md: the words behind ACL SETUSER.
func recipe(t *testing.T) (words []any) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "```\nACL SETUSER ")
	if !ok {
		t.Fatal("docs/operations.md has no recipe")
	}
	block, _, _ = strings.Cut(block, "```")
	for _, w := range strings.Fields(block) {
		if strings.HasPrefix(w, `"`) { // as redis-cli reads it
			if w, err = strconv.Unquote(w); err != nil {
				t.Fatal(err)
			}
		}
		words = append(words, w)
	}
	return words
}

// The recipe of docs/operations.md is enough for all that a worker and a client
// do, and has no right that they do not use.
func TestRightsOfAnACLUser(t *testing.T) {
	const queue = "email_notifications"
	s := redistest.Start(t)
	c := s.Conn(3) // so that it has to be selected
	words := recipe(t)
	for i, w := range words {
		words[i] = strings.Replace(w.(string), "&/0.", "&/3.", 1)
	}
	do(t, c, "ACL", append([]any{"SETUSER"}, words...)...)
	url := fmt.Sprintf("redis://%s:secret@%s/3", words[0], s.Addr)
	do(t, c, "CONFIG", "RESETSTAT")

	// What a worker left behind that is gone, and one of Python's.
	raw := must(protocol.Encode(&protocol.Message{ID: "python", Task: "nothing", DeliveryTag: "python", Exchange: "named", RoutingKey: "k"}))(t)
	do(t, c, "SADD", "_kombu.binding.named", "k\x06\x16\x06\x16"+queue)
	do(t, c, "HSET", "unacked", "python", protocol.EncodeEntry(protocol.Entry{Raw: raw, Exchange: "named", RoutingKey: "k"}))
	do(t, c, "ZADD", "unacked_index", 1, "python")
	gone := "00000000-0000-0000-0000-000000000000"
	raw = must(protocol.Encode(&protocol.Message{ID: "gone", Task: "nothing", DeliveryTag: "gone", RoutingKey: queue}))(t)
	do(t, c, "HSET", "unacked", gone+":0000000000000000000000000001", protocol.EncodeEntry(protocol.Entry{Raw: raw, RoutingKey: queue}))
	do(t, c, "ZADD", "unacked_index", time.Now().Unix(), gone+":0000000000000000000000000001")
	do(t, c, "ZADD", "_goworker.1.owners", 0, gone)

	tasks := aclTasks()
	for _, unordered := range []bool{false, true} {
		w, stop := runWorker(t, redis.Config{URL: url, OwnerTimeout: time.Second, ChordUnordered: unordered}, worker.Config{
			Queues: []string{queue}, TrackStarted: true, SharedRateLimits: true, DeduplicateSuccessful: true, Tasks: tasks,
			Publishing: worker.Publishing{DefaultQueue: queue},
		})
		client, b := aclClient(t, url, queue, unordered)
		useEverything(t, c, client, b, queue)
		if f := w.Status().Fault; f != "" {
			t.Errorf("fault: %s", f)
		}
		for _, id := range []string{"python", "gone"} {
			eventually(t, "what was left behind is done: "+id, func() bool { return result(t, c, id).Status == "SUCCESS" })
		}
		stop()
		if n := count(t, c, "HLEN", "unacked"); n != 0 {
			t.Errorf("%d unacknowledged, want none", n)
		}
	}

	for _, entry := range must(redigo.Values(c.Do("ACL", "LOG")))(t) {
		t.Errorf("denied: %s", entry)
	}
	stats := must(redigo.String(c.Do("INFO", "commandstats")))(t)
	elsewhere := []string{"role", "ping"} // with Sentinels, and in idle connections
	for _, w := range words {
		command, granted := strings.CutPrefix(w.(string), "+")
		if granted && !slices.Contains(elsewhere, command) && !strings.Contains(stats, "cmdstat_"+command+":") {
			t.Errorf("%s is never used: the recipe grants too much, or the test does too little", w)
		}
	}
	if used := strings.Contains(stats, "cmdstat_role:"); used {
		t.Error("ROLE is asked without Sentinels")
	}
}

func aclTasks() map[string]worker.Definition {
	return map[string]worker.Definition{
		"nothing": {Handler: nothing()["nothing"].Handler, RateLimit: "1000/s"},
		"sum":     {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) { return task.Message.Args, nil })},
		"requeue": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
			if task.Redelivered {
				return 1, nil
			}
			return nil, worker.Requeue("once")
		})},
		"retry": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			if err := task.Held(ctx); err != nil {
				return nil, err
			}
			if err := task.UpdateState(ctx, "PROGRESS", 1); err != nil {
				return nil, err
			}
			if task.Retries > 0 {
				return 1, nil
			}
			return nil, &worker.RetryError{Countdown: -1}
		})},
		"grow": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			_, err := task.AddToChord(ctx, canvas.New("nothing"))
			return 1, err
		})},
	}
}

func aclClient(t *testing.T, url, queue string, unordered bool) (*worker.Client, *redis.Broker) {
	t.Helper()
	b, err := redis.New(redis.Config{URL: url, ChordUnordered: unordered, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	client, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{DefaultQueue: queue}})
	if err != nil {
		t.Fatal(err)
	}
	return client, b
}

// useEverything does all that leads to another command or key.
func useEverything(t *testing.T, c redigo.Conn, client *worker.Client, b *redis.Broker, queue string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	priority := 6
	link := canvas.New("sum")
	for name, s := range map[string]*canvas.Signature{
		"task": canvas.New("nothing").Set(canvas.Options{Priority: &priority}).Link(link), "requeue": canvas.New("requeue"), "retry": canvas.New("retry"),
		"chain": canvas.Chain(canvas.New("nothing"), canvas.New("sum")),
		"chord": canvas.Chord([]*canvas.Signature{canvas.New("grow"), canvas.Group(canvas.New("nothing"), canvas.New("nothing"))}, canvas.New("sum")),
	} {
		r, err := client.Send(ctx, s)
		if err == nil {
			err = r.Get(ctx, nil)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	group, err := client.Send(ctx, canvas.Group(canvas.New("nothing"), canvas.New("nothing")))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(group.Get(ctx, nil), group.Save(ctx)); err != nil {
		t.Error(err)
	}
	if saved, err := client.Group(ctx, group.ID); err != nil || saved == nil {
		t.Errorf("saved group is %v, %v", saved, err)
	}
	if err := errors.Join(group.Forget(ctx), client.Revoke(ctx, "unheard of"), client.RevokeByStamps(ctx, map[string][]any{"tenant": {"acme"}})); err != nil {
		t.Error(err)
	}
	if got := result(t, c, "unheard of").Status; got != "REVOKED" {
		t.Errorf("a revoked task is %s", got)
	}

	do(t, c, "LPUSH", queue, "garbage")
	id := send(t, c, queue, "unknown", "[]")
	eventually(t, "the unknown task has failed", func() bool { return result(t, c, id).Status == "FAILURE" })
	var letters []broker.DeadLetter
	eventually(t, "two dead letters", func() bool {
		if letters, _, err = b.DeadLetters(ctx, 0, 10); err != nil {
			t.Fatal(err)
		}
		return len(letters) == 2
	})
	i := slices.IndexFunc(letters, func(l broker.DeadLetter) bool { return l.TaskID == id })
	if err := b.RetryDeadLetter(ctx, letters[i].ID); err != nil {
		t.Error(err)
	}
	if err := b.DeleteDeadLetter(ctx, letters[1-i].ID); err != nil {
		t.Error(err)
	}
	eventually(t, "it is back among the dead letters", func() bool { return count(t, c, "HLEN", "_goworker.1.dead") == 1 })
	letters, _, err = b.DeadLetters(ctx, 0, 1)
	if err == nil {
		err = b.DeleteDeadLetter(ctx, letters[0].ID)
	}
	if err != nil {
		t.Error(err)
	}
}
