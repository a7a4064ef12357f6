package workertest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// suitePatience bounds the wait for events that a healthy Broker delivers at once.
const suitePatience = 20 * time.Second

// listen runs Listen until the test ends, and returns after it has joined.
func listen(t *testing.T, f Fixture, l broker.Listening) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	joined := make(chan struct{})
	var once sync.Once
	l.Joined = func() { once.Do(func() { close(joined) }) }
	ended := make(chan error, 1)
	go func() { ended <- f.can.Remote.Listen(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Listen: %v, want nil after its context ended", err)
		}
	})
	select {
	case <-joined:
	case <-time.After(suitePatience):
		t.Fatal("Listen has not called Joined")
	}
}

func testRemote(t *testing.T, f Fixture) {
	ctx, cancel := context.WithTimeout(context.Background(), suitePatience)
	defer cancel()
	decoder := &protocol.Decoder{}
	got := make(chan *protocol.ControlRequest, 10)
	listen(t, f, broker.Listening{Node: "w@test", Request: func(raw []byte) {
		q, err := decoder.DecodeControl(raw)
		if err != nil {
			t.Errorf("request that arrived: %v", err)
			return
		}
		got <- q
		if !q.Wanted() {
			return
		}
		reply, err := protocol.EncodeReply(q, protocol.ControlReply{Node: "w@test", Value: protocol.Raw(`"pong"`)}, uuid.NewString())
		if err == nil {
			err = f.can.Remote.Reply(context.Background(), q.ReplyTo, reply) // Ask may have the answer, and end ctx, first
		}
		if err != nil {
			t.Errorf("Reply: %v", err)
		}
	}})
	encode := func(q *protocol.ControlRequest) []byte {
		t.Helper()
		raw, err := protocol.EncodeControl(q, uuid.NewString(), time.Time{})
		if err != nil {
			t.Fatalf("encode a request: %v", err)
		}
		return raw
	}

	if err := f.can.Remote.Broadcast(ctx, encode(&protocol.ControlRequest{Method: "shutdown"})); err != nil {
		t.Fatalf("Broadcast: %v", err)
	}
	select {
	case q := <-got:
		if q.Method != "shutdown" || q.Wanted() {
			t.Errorf("a broadcast arrived as %+v", q)
		}
	case <-ctx.Done():
		t.Fatal("a broadcast has not arrived")
	}

	to := protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: uuid.NewString()}
	var answers []protocol.Raw
	err := f.can.Remote.Ask(ctx, encode(&protocol.ControlRequest{Method: "ping", Ticket: uuid.NewString(), ReplyTo: to}), to.RoutingKey, func(raw []byte) {
		if reply, err := decoder.DecodeReply(raw); err != nil {
			t.Errorf("answer that arrived: %v", err)
		} else {
			answers = append(answers, reply.Value)
		}
	})
	if err != nil || len(answers) != 1 || string(answers[0]) != `"pong"` {
		t.Errorf("Ask: answers %q, %v, want one pong", answers, err)
	}
}

func testEmit(t *testing.T, f Fixture) {
	ctx, cancel := context.WithTimeout(context.Background(), suitePatience)
	defer cancel()
	got := make(chan []byte, 10)
	listen(t, f, broker.Listening{Node: "w@test", Event: func(raw []byte) { got <- bytes.Clone(raw) }})
	body, err := protocol.AppendEvent(nil, &protocol.Event{Type: "worker-online", Hostname: "other@test", Timestamp: time.Now(), Clock: 7})
	if err != nil {
		t.Fatalf("write an event: %v", err)
	}
	key := protocol.EventRoutingKey("worker-online")
	raw, err := protocol.AppendEvents(nil, key, "other@test", uuid.NewString(), body)
	if err != nil {
		t.Fatalf("write an event: %v", err)
	}
	kept := bytes.Clone(raw)
	if err := f.can.Emitter.Emit(ctx, broker.Emission{RoutingKey: key, Raw: raw}); err != nil {
		t.Fatalf("Emit: %v", err)
	}
	clear(raw) // Emit must keep nothing of it
	select {
	case raw := <-got:
		want, _ := (&protocol.Decoder{}).DecodeEvent(kept)
		e, err := (&protocol.Decoder{}).DecodeEvent(raw)
		if err != nil || e.Type != want.Type || e.Hostname != want.Hostname || e.Clock != want.Clock {
			t.Errorf("event arrived as %+v, %v, want %+v", e, err, want)
		}
	case <-ctx.Done():
		t.Fatal("an event has not arrived")
	}
}

func testQueueSet(t *testing.T, f Fixture) {
	ctx := context.Background()
	change := func(what string, op func(context.Context, string) (bool, error), want bool) {
		t.Helper()
		if changed, err := op(ctx, "c"); changed != want || err != nil {
			t.Errorf("%s = %v, %v, want %v", what, changed, err, want)
		}
	}
	_, raw := message(t)
	f.Push("c", 0, raw)
	if ds := claim(t, f, 10); len(ds) != 0 {
		t.Errorf("claimed %d messages of a queue that is not consumed", len(ds))
	}
	change("AddQueue", f.can.QueueSet.AddQueue, true)
	change("AddQueue again", f.can.QueueSet.AddQueue, false)
	ds := claim(t, f, 10)
	if len(ds) != 1 {
		t.Fatalf("claimed %d messages of the new queue, want 1", len(ds))
	}
	change("CancelQueue", f.can.QueueSet.CancelQueue, true)
	change("CancelQueue again", f.can.QueueSet.CancelQueue, false)
	// The claim outlives the consuming of its queue.
	if held, err := f.Broker.Held(ctx, ds[0].Claim); !held || err != nil {
		t.Errorf("Held after CancelQueue = %v, %v", held, err)
	}
	_, raw = message(t)
	f.Push("c", 0, raw)
	if ds := claim(t, f, 10); len(ds) != 0 {
		t.Errorf("claimed %d messages of a cancelled queue", len(ds))
	}
}

func testDepth(t *testing.T, f Fixture) {
	for _, p := range []struct {
		queue    string
		priority int
	}{{"a", 0}, {"a", 9}, {"b", 3}, {"not consumed", 0}} {
		_, raw := message(t)
		f.Push(p.queue, p.priority, raw)
	}
	if n, err := f.can.Depther.Depth(context.Background()); n != 3 || err != nil {
		t.Errorf("Depth = %d, %v, want 3", n, err)
	}
	claim(t, f, 2)
	if n, err := f.can.Depther.Depth(context.Background()); n != 1 || err != nil {
		t.Errorf("Depth after two were claimed = %d, %v, want 1", n, err)
	}
}

func testInfo(t *testing.T, f Fixture) {
	if info := f.can.Describer.Info(); info.Transport == "" || info.URL == "" {
		t.Errorf("Info = %+v, want a transport and a URL", info)
	}
}

func testFaults(t *testing.T, f Fixture) {
	if refusal := f.can.Faulter.Refusal(errors.New("no reply")); refusal != "" {
		t.Errorf("refusal %q of an error that is none", refusal)
	}
	if faults := f.can.Faulter.Faults(); len(faults) > 0 {
		t.Errorf("Faults of a new broker: %q", faults)
	}
}

func testQueueFault(t *testing.T, f Fixture) {
	if fault := f.can.Namer.QueueFault("email_notifications"); fault != "" {
		t.Errorf("email_notifications is no queue: %s", fault)
	}
}
