package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A callback, a chain, the body of a chord, an error callback: what names a key instead of a
// queue becomes a dead letter, and fails with all that waits for it. The key is as it was,
// and the worker goes on.
func TestFollowersWithoutAQueue(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	_, stop := runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: map[string]worker.Definition{
		"nothing": nothing()["nothing"], "fails": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, errors.New("no") })},
	}})
	client, err := worker.NewClient(worker.ClientConfig{Backend: backend(t, s), Publishing: worker.Publishing{DefaultQueue: "q"}})
	if err != nil {
		t.Fatal(err)
	}
	letters := 0
	for i, queue := range []string{"_goworker.1.dead", "_goworker.1.revoked", "unacked", "unacked_index", "unacked_mutex", "_kombu.binding.q",
		"celery-task-meta-x", "unacked\x06\x163"} {
		id := func(name string) string { return fmt.Sprintf("%s-%d", name, i) }
		lost := func(name string) *canvas.Signature {
			return canvas.New("nothing").Set(canvas.Options{TaskID: id(name), Queue: queue})
		}
		after := canvas.New("nothing").Set(canvas.Options{TaskID: id("after")})
		for _, sig := range []*canvas.Signature{
			canvas.New("nothing").Link(lost("callback")),
			canvas.Chain(canvas.New("nothing"), lost("second"), after),
			canvas.Chord([]*canvas.Signature{canvas.New("nothing"), canvas.New("nothing")}, lost("body")),
			canvas.New("fails").LinkError(lost("errback")),
		} {
			if _, err := client.Send(t.Context(), sig); err != nil {
				t.Fatal(err)
			}
			letters++
		}
		for _, name := range []string{"callback", "second", "after", "body"} {
			eventually(t, name+" of "+queue+" has failed", func() bool { return result(t, c, id(name)).Status == "FAILURE" })
		}
		if stored := must(redigo.String(c.Do("GET", "celery-task-meta-"+id("second"))))(t); !strings.Contains(stored, "not the name of a queue") {
			t.Errorf("second: %s", stored)
		}
		if _, err := client.Send(t.Context(), lost("sent")); err == nil || !strings.Contains(err.Error(), "not the name of a queue") {
			t.Errorf("%q: the client sent to it: %v", queue, err)
		}
	}
	eventually(t, "all are dead letters", func() bool { return count(t, c, "HLEN", "_goworker.1.dead") == letters })
	for _, meta := range must(redigo.Strings(c.Do("HVALS", "_goworker.1.dead.meta")))(t) {
		if !strings.Contains(meta, "not the name of a queue") {
			t.Errorf("reason is %s", meta)
		}
	}
	last := send(t, c, "q", "nothing", "[]")
	eventually(t, "the worker goes on", func() bool { return result(t, c, last).Status == "SUCCESS" })
	stop()
	for key, kind := range map[string]string{"unacked_mutex": "none", "_goworker.1.revoked": "none", "celery-task-meta-x": "none", "_kombu.binding.q": "set"} {
		if got := must(redigo.String(c.Do("TYPE", key)))(t); got != kind && !(key == "unacked_mutex" && got == "string") {
			t.Errorf("%s is a %s", key, got)
		}
	}
}

// An entry of a Python worker leads back to a key that is none of a queue.
func TestRestoredIntoNoKey(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	raw := must(protocol.Encode(&protocol.Message{ID: "i", Task: "nothing", DeliveryTag: "d", RoutingKey: "_goworker.1.dead"}))(t)
	do(t, c, "HSET", "unacked", "d", protocol.EncodeEntry(protocol.Entry{Raw: raw, RoutingKey: "_goworker.1.dead"}))
	do(t, c, "ZADD", "unacked_index", 1, "d")
	newConsumer(t, redis.Config{URL: s.URL(0)}).run(t)
	eventually(t, "the message is a dead letter", func() bool { return count(t, c, "HLEN", "_goworker.1.dead") == 1 })
	letters, _, err := backend(t, s).Letters().List(t.Context(), 0, 10)
	if err != nil || len(letters) != 1 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	if err := backend(t, s).Letters().Retry(t.Context(), letters[0].ID); err == nil || !strings.Contains(err.Error(), "not the name of a queue") {
		t.Errorf("retried: %v", err)
	}
}
