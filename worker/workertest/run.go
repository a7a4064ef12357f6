// Package workertest tests handlers without Redis ([Run]), whole workers on a broker in
// memory ([NewBroker]), and implementations of broker.Broker ([TestBroker]).
package workertest

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Call is one call of a task.
type Call struct {
	Task    string
	Args    []any             // positional arguments, any values that encode as JSON
	Kwargs  map[string]any    // keyword arguments
	Retries int               // attempts made before
	Headers []protocol.Header // beside those of Celery
	Expires time.Time
	// ID of the task; default: a new UUID.
	ID string
	// Mark is the mark that an earlier run has left, "" for none.
	Mark string
	// Redelivered reports whether the message was delivered before.
	Redelivered bool
}

// Outcome is the outcome of a Call.
type Outcome struct {
	// State is the final state: SUCCESS, FAILURE, RETRY or REVOKED; "" if none was
	// stored.
	State string
	// Result is the result of SUCCESS as JSON. Decode it with protocol.Unmarshal.
	Result protocol.Raw
	// Exception is the exception of FAILURE, RETRY and REVOKED.
	Exception *protocol.Exception
	// Retry is the message of the next attempt. It is not run.
	Retry *protocol.Message
	// Sent holds the other messages that were published by the handler and after the
	// task. They are not run.
	Sent []*protocol.Message
	// Requeued reports whether the message went back to the end of its queue.
	Requeued bool
	// GivenBack reports whether the message went back to the front of its queue.
	GivenBack bool
	// DeadLetter is the reason of the dead letter, "" if there is none.
	DeadLetter string
	// Mark is the mark that the run has left, "" for none.
	Mark string
	// Recorded holds the entries of the run by stream, in their order.
	Recorded map[string][]broker.Recorded
}

// Run runs one call of a task in a real worker, from the message to the stored result,
// and returns the outcome. It fails the test if the call cannot be encoded or does not
// end within a minute.
func Run(t testing.TB, tasks map[string]worker.Definition, c Call) Outcome {
	t.Helper()
	if c.ID == "" {
		c.ID = uuid.NewString()
	}
	raw, err := c.encode()
	if err != nil {
		t.Fatalf("encode the call of %s: %v", c.Task, err)
	}

	b := NewBroker()
	b.hold = true // only one attempt must run
	b.marks.first = c.Mark
	w, err := worker.New(worker.Config{
		Broker: b, Tasks: tasks, Concurrency: 1, Queues: []string{"test"},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatalf("make a worker: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	b.Push("test", 0, raw)
	go func() { done <- w.Run(ctx) }()
	deadline := time.After(time.Minute)
	for ended := false; !ended; {
		changed := b.Changed()
		if ended = len(b.Queued("test")) == 0 && b.Unacked() == 0; ended {
			break
		}
		select {
		case <-changed:
		case <-deadline:
			t.Errorf("%s did not end within a minute", c.Task)
			ended = true
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run the worker: %v", err)
	}
	return outcomeOf(t, b, c.ID)
}

func (c Call) encode() ([]byte, error) {
	if c.Args == nil {
		c.Args = []any{}
	}
	if c.Kwargs == nil {
		c.Kwargs = map[string]any{}
	}
	args, err := protocol.Marshal(c.Args)
	if err != nil {
		return nil, err
	}
	kwargs, err := protocol.Marshal(c.Kwargs)
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Encode(&protocol.Message{
		ID: c.ID, RootID: c.ID, CorrelationID: c.ID, Task: c.Task, Args: args, Kwargs: kwargs,
		Retries: c.Retries, Headers: c.Headers, Expires: c.Expires, DeliveryTag: uuid.NewString(), RoutingKey: "test",
	})
	if err == nil && c.Redelivered {
		return protocol.MarkRedelivered(raw)
	}
	return raw, err
}

// outcomeOf returns the outcome of the task with that id.
func outcomeOf(t testing.TB, b *Broker, id string) Outcome {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	o := Outcome{Requeued: b.requeued > 0, GivenBack: b.returned > 0, Mark: b.marks.first, Recorded: map[string][]broker.Recorded{}}
	for _, m := range b.marks.byTask {
		o.Mark = m.value
	}
	for name, s := range b.streams {
		o.Recorded[name] = s.entries
	}
	if r := b.results.byID[id]; r != nil {
		o.State, o.Exception = r.Status, r.Exception
		if r.Status == protocol.StateSuccess {
			raw, err := protocol.Marshal(r.Result)
			if err != nil {
				t.Errorf("encode the result: %v", err)
			}
			o.Result = raw
		}
	}
	for _, p := range b.sent {
		m, err := protocol.Decode(p.Raw, protocol.Limits{})
		switch {
		case err != nil:
			t.Errorf("decode what was published: %v", err)
		case m.ID == id && o.State == protocol.StateRetry:
			o.Retry = m
		default:
			o.Sent = append(o.Sent, m)
		}
	}
	if dead := b.letters.list(); len(dead) > 0 {
		o.DeadLetter = dead[0].Reason
	}
	return o
}
