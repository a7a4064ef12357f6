package worker_test

import (
	"context"
	"fmt"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/workertest"
)

// A charge cannot be taken back, and a worker may die while it is made. The run that gets the
// message then finds the mark of the run that died.
func ExampleTask_Mark() {
	client, stop := exampleRun(map[string]worker.Definition{
		"charge": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			earlier, err := task.Mark(ctx, "charging")
			if err != nil {
				return nil, worker.Retry(err) // not charged; with ErrLost another worker has the message
			}
			if earlier != "" {
				return nil, worker.GiveUp("unknown", "a run that died may have charged the card")
			}
			// Charge the card here.
			task.EndMark("") // once this run is settled: a failure may then be tried again
			return "charged", nil
		})},
	})
	defer stop()
	exampleCall(client, "charge")
	// Output:
	// charge returned charged
}

// The entries of a task are written with its outcome, in one step. A reader, one at a time, takes
// it from the broker: it stores the entries and then removes them, so that a crash in between
// brings the same ones again, under the same ids.
func ExampleTask_Record() {
	tasks := map[string]worker.Definition{
		"ship": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
			task.Record("history", "task", task.Name, "event", "shipped")
			return nil, nil
		})},
	}
	var broker *workertest.Broker
	client, stop := exampleRun(tasks, func(c *worker.Config) { broker = c.Broker.(*workertest.Broker) })
	defer stop()
	exampleCall(client, "ship")

	ctx := context.Background()
	entries, err := broker.Oldest(ctx, "history", 500)
	if err != nil {
		panic(err)
	}
	var ids []string
	for _, e := range entries {
		fmt.Println(e.Fields) // store it, unless e.ID is stored already
		ids = append(ids, e.ID)
	}
	if err := broker.Remove(ctx, "history", ids); err != nil {
		panic(err)
	}
	backlog, err := broker.Backlog(ctx, "history")
	fmt.Println(backlog.Length, "entries wait", err)
	// Output:
	// ship returned <nil>
	// [task ship event shipped]
	// 0 entries wait <nil>
}
