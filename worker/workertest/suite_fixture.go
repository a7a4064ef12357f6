package workertest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Fixture is a Broker under test with access to its other side.
type Fixture struct {
	Broker broker.Broker
	// Push puts a message to the end of a queue, as a producer does.
	Push func(queue string, priority int, raw []byte)
	// Queued returns the messages of a queue in the order of their consumption.
	Queued func(queue string) [][]byte
	// Stored returns the status stored for a task id, "" for none.
	Stored func(id string) string
	// DeadLetters returns the reasons of all dead letters.
	DeadLetters func() []string
	// Unacked returns the number of claims.
	Unacked func() int

	can broker.Capabilities // of Broker
}

func message(t testing.TB, change ...func(*protocol.Message)) (id string, raw []byte) {
	t.Helper()
	m := &protocol.Message{
		ID: uuid.NewString(), Task: "t", Args: protocol.Raw("[1.0, 100000000000000000000]"), Kwargs: protocol.Raw("{}"),
		DeliveryTag: uuid.NewString(), RoutingKey: "a",
	}
	for _, f := range change {
		f(m)
	}
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return m.ID, raw
}

func claim(t testing.TB, f Fixture, max int) []broker.Delivery {
	t.Helper()
	ds, err := f.Broker.Claim(context.Background(), max)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return ds
}

// settle settles a delivery that completes no chord.
func settle(t testing.TB, f Fixture, s broker.Settlement) error {
	t.Helper()
	done, err := f.Broker.Settle(context.Background(), s)
	if !done.Done() {
		t.Errorf("Settle: a chord is in the way: %+v", done)
	}
	return err
}

func ids(t testing.TB, raws [][]byte) (ids []string) {
	t.Helper()
	for _, raw := range raws {
		env, err := protocol.ParseEnvelope(raw)
		if err != nil {
			t.Fatalf("message in the queue: %v", err)
		}
		ids = append(ids, env.ID)
	}
	return ids
}

func delivered(t testing.TB, ds []broker.Delivery) []string {
	t.Helper()
	var raws [][]byte
	for _, d := range ds {
		raws = append(raws, d.Raw)
	}
	return ids(t, raws)
}

func success(id string) *protocol.Result {
	return &protocol.Result{Status: protocol.StateSuccess, TaskID: id, Result: 1, DateDone: time.Now()}
}

func failed(id string) *protocol.Result {
	return &protocol.Result{Status: protocol.StateFailure, TaskID: id, DateDone: time.Now(),
		Exception: &protocol.Exception{Type: "ValueError", Module: "builtins", Args: []any{"no"}}}
}
