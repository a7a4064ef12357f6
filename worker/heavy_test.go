package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// A message that waited for memory is treated like any other: a task that is not
// registered by its policy, and one with an ETA at its time.
func TestMessagesThatWaitedForMemory(t *testing.T) {
	b := &bench{Broker: workertest.NewBroker()}
	large := protocol.Raw(`["` + strings.Repeat("x", 30<<20) + `"]`)
	eta := time.Now().Add(3 * time.Second)
	b.send(t, "t", func(m *protocol.Message) { m.Args = large })
	b.send(t, "nowhere")
	later := b.send(t, "t", func(m *protocol.Message) { m.ETA = eta })
	w, err := worker.New(worker.Config{
		Broker: b.Broker, Queues: []string{"q"}, Logger: silent(), Concurrency: 4, Limits: protocol.Limits{Size: 64 << 20},
		Tasks: one(func(context.Context) (any, error) { return nil, nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	b.eventually(t, "all have ended", func() bool { return b.status(later) == protocol.StateSuccess && len(b.DeadLetters()) == 1 })
	if early := time.Until(eta); early > 0 {
		t.Errorf("the task with an ETA ran %v early", early)
	}
	if got := b.DeadLetters()[0].Reason; got != "unknown task" {
		t.Errorf("the unknown task is a dead letter for %q", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
