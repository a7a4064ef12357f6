package redis_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// failureOf is the exception of a result.
func failureOf(t testing.TB, c redigo.Conn, id string) (typ, text string) {
	t.Helper()
	var e struct {
		Type string `json:"exc_type"`
		Args []any  `json:"exc_message"`
	}
	s := result(t, c, id)
	if s.Status != "FAILURE" || json.Unmarshal(s.Result, &e) != nil {
		t.Errorf("result of %s is %s %s, want a FAILURE", id, s.Status, s.Result)
	}
	return e.Type, fmt.Sprint(e.Args...)
}

// A message that a Python worker might have run, and this one refuses, fails its task:
// the result, the chord, the error callback and the rest of the chain are told.
func TestRefusedIsAnswered(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	const size = 4000
	runWorker(t, redis.Config{URL: s.URL(0), MaxMessageSize: size}, worker.Config{
		Tasks: nothing(), Limits: protocol.Limits{Size: size, Depth: 8, Elements: 200},
		Publishing: worker.Publishing{DefaultQueue: "q"},
	})
	for name, args := range map[string]string{
		"too-large":         `["` + strings.Repeat("x", size) + `"]`,
		"too-deep":          strings.Repeat("[", 20) + strings.Repeat("]", 20),
		"too-many-elements": "[" + strings.Repeat("1,", 250) + "1]",
	} {
		do(t, c, "SET", "celery-taskset-meta-g-"+name+".s", 2)
		body := protocol.Raw(`{"task": "nothing", "args": [], "kwargs": {}, "options": {"task_id": "body-` + name + `"}, "immutable": true}`)
		for i, a := range []string{"[]", args} {
			send(t, c, "q", "nothing", a, func(m *protocol.Message) {
				m.ID, m.Group, m.GroupIndex, m.Chord = fmt.Sprintf("%s-%d", name, i), "g-"+name, &i, body
				m.Errbacks = protocol.Raw(`[{"task": "nothing", "args": [], "kwargs": {}, "options": {"task_id": "errback-` + m.ID + `"}, "immutable": true}]`)
				m.Chain = protocol.Raw(`[{"task": "nothing", "args": [], "kwargs": {}, "options": {"task_id": "next-` + m.ID + `"}, "immutable": true}]`)
			})
		}
		refused := name + "-1"
		eventually(t, "the chord has ended", func() bool { return result(t, c, "body-"+name).Status == "FAILURE" })
		typ, text := failureOf(t, c, refused)
		if typ != "DecodeError" || !strings.Contains(text, name) || !strings.Contains(text, "at most") {
			t.Errorf("%s failed with %s %q, want the reason and the limit", refused, typ, text)
		}
		if typ, text := failureOf(t, c, "body-"+name); typ != "ChordError" || !strings.Contains(text, refused) {
			t.Errorf("the body failed with %s %q", typ, text)
		}
		if typ, _ := failureOf(t, c, "next-"+refused); typ != "DecodeError" {
			t.Errorf("the rest of the chain failed with %s", typ)
		}
		eventually(t, "the error callback has run", func() bool { return result(t, c, "errback-"+refused).Status == "SUCCESS" })
	}
	eventually(t, "all are acknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
	if n := count(t, c, "HLEN", "_goworker.1.dead"); n != 3 {
		t.Errorf("%d dead letters, want 3", n)
	}
	// One of which not even all is read.
	id := send(t, c, "q", "nothing", `["`+strings.Repeat("x", 200_000)+`"]`)
	eventually(t, "the very large one is answered", func() bool { return result(t, c, id).Status == "FAILURE" })
	// And one that is no message for kombu, though its id can be read.
	do(t, c, "LPUSH", "q", `{"body": 1, "headers": {"task": "nothing", "id": "odd"}, "properties": {"delivery_tag": "d"}}`)
	do(t, c, "LPUSH", "q", `{"body": 1, "headers": {"task": "nothing", "id": "odd-2"}, "properties": {"delivery_tag": "d"}}`)
	for _, id := range []string{"odd", "odd-2"} {
		eventually(t, "the odd one is answered", func() bool { return result(t, c, id).Status == "FAILURE" })
	}
	// A SUCCESS stays.
	do(t, c, "SET", "celery-task-meta-done", `{"status": "SUCCESS", "result": 1}`)
	send(t, c, "q", "nothing", `["`+strings.Repeat("x", size)+`"]`, func(m *protocol.Message) { m.ID = "done" })
	eventually(t, "it is a dead letter", func() bool { return count(t, c, "HLEN", "_goworker.1.dead") == 7 })
	if got := result(t, c, "done").Status; got != "SUCCESS" {
		t.Errorf("a result of SUCCESS has become %s", got)
	}
}

// A message that this worker could not read is not published. The task that publishes it gets
// an error, and so does a client that waits for a body.
func TestUnreadableIsNotPublished(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	limits := protocol.Limits{Size: 8000, Depth: 12}
	tasks := nothing()
	tasks["large"] = worker.Definition{Handler: worker.Func(func(context.Context, struct{}) (string, error) { return strings.Repeat("x", 3000), nil })}
	tasks["send"] = worker.Definition{Handler: worker.Func(func(ctx context.Context, in struct{ Bytes, Depth int }) (any, error) {
		task, _ := worker.TaskFrom(ctx)
		var arg any = strings.Repeat("x", in.Bytes)
		for range in.Depth {
			arg = []any{arg}
		}
		_, err := task.Send(ctx, canvas.New("nothing", arg).Set(canvas.Options{Queue: "nowhere"}))
		return nil, err
	})}
	runWorker(t, redis.Config{URL: s.URL(0), MaxMessageSize: limits.Size}, worker.Config{Tasks: tasks, Limits: limits, Publishing: worker.Publishing{DefaultQueue: "q"}})
	for args, want := range map[string]string{"[10, 1]": "", "[9000, 1]": "could not read its message", "[10, 20]": "could not read its message"} {
		id := send(t, c, "q", "send", args)
		eventually(t, "the task has ended", func() bool { s := result(t, c, id).Status; return s == "SUCCESS" || s == "FAILURE" })
		if want == "" {
			if got := result(t, c, id); got.Status != "SUCCESS" {
				t.Errorf("send%s: %s %s", args, got.Status, got.Result)
			}
			continue
		}
		if _, text := failureOf(t, c, id); !strings.Contains(text, want) {
			t.Errorf("send%s failed with %q, want %q", args, text, want)
		}
	}
	if n := count(t, c, "LLEN", "nowhere"); n != 1 {
		t.Errorf("%d messages published, want 1", n)
	}
	do(t, c, "SET", "celery-taskset-meta-g.s", 3)
	for i := range 3 {
		send(t, c, "q", "large", "[]", func(m *protocol.Message) {
			m.Group, m.GroupIndex = "g", &i
			m.Chord = protocol.Raw(`{"task": "nothing", "args": [], "kwargs": {}, "options": {"task_id": "body"}}`)
		})
	}
	eventually(t, "the body has ended", func() bool { return result(t, c, "body").Status == "FAILURE" })
	if typ, text := failureOf(t, c, "body"); typ != "ChordError" || !strings.Contains(text, "could not read its message") {
		t.Errorf("the body failed with %s %q", typ, text)
	}
}

// Messages that stand for much more than they weigh wait packed while others run.
func TestPackedMessagesDoNotFillMemory(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	const messages, size = 10, 8 << 20
	var text strings.Builder
	chance := rand.New(rand.NewPCG(1, 2))
	for text.Len() < size { // packs to a fortieth
		text.WriteString(strings.Repeat("x", 100) + fmt.Sprintf("%06x", chance.IntN(1<<24)))
	}
	release := make(chan struct{})
	var running, most atomic.Int64
	tasks := map[string]worker.Definition{"take": {Handler: worker.Func(func(ctx context.Context, in struct{ Text string }) (int, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return len(in.Text), nil
	})}}
	var ids []string
	m := &protocol.Message{ID: "packed-number", Task: "take", DeliveryTag: "number", RoutingKey: "q", Args: protocol.Raw(`["` + text.String() + `"]`)}
	raw := must(protocol.EncodeAs(m, protocol.EncodeOptions{Compression: "zlib"}))(t)
	for i := range messages { // packing one takes long
		do(t, c, "LPUSH", "q", bytes.ReplaceAll(raw, []byte("number"), []byte(fmt.Sprint(i))))
		ids = append(ids, fmt.Sprint("packed-", i))
	}
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: tasks, Concurrency: messages})
	eventually(t, "some run", func() bool { return running.Load() >= 4 })
	close(release)
	for _, id := range ids {
		eventually(t, "all run in the end", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
	if n := most.Load(); n > 8 {
		t.Errorf("%d messages of %d bytes were in memory at once", n, size)
	}
}
