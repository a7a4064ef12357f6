package workertest_test

import (
	"testing"

	"github.com/evently/workers/worker/workertest"
)

func TestBrokerInMemory(t *testing.T) {
	workertest.TestBroker(t, func(*testing.T) workertest.Fixture { return inMemory() })
}

func inMemory() workertest.Fixture {
	b := workertest.NewBroker()
	return workertest.Fixture{
		Broker: b, Push: b.Push, Queued: b.Queued, Unacked: b.Unacked,
		Stored: func(id string) string {
			if r := b.Result(id); r != nil {
				return r.Status
			}
			return ""
		},
		DeadLetters: func() (reasons []string) {
			for _, l := range b.DeadLetters() {
				reasons = append(reasons, l.Reason)
			}
			return reasons
		},
	}
}

func TestLettersInMemory(t *testing.T) {
	f := inMemory()
	workertest.TestLetters(t, f, f.Broker.(*workertest.Broker).Letters())
}
