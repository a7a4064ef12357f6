package worker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/workertest"
)

// A Go program sends a workflow and waits for its end. The tasks may run in Go or in
// Python; here they run in a worker on a broker in memory.
func ExampleClient() {
	broker, stop := exampleWorker()
	defer stop()

	client, err := worker.NewClient(worker.ClientConfig{
		Backend:    broker,
		Publishing: worker.Publishing{DefaultQueue: "shop"},
	})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	// Three prices at once, then their sum, then the sum with tax.
	order := canvas.Chain(
		canvas.Group(canvas.New("price", "tea"), canvas.New("price", "cup"), canvas.New("price", "pot")),
		canvas.New("sum"),
		canvas.New("tax"),
	)
	result, err := client.Send(ctx, order)
	if err != nil {
		panic(err)
	}
	var total int
	if err := result.Get(ctx, &total); err != nil {
		panic(err)
	}
	fmt.Println(total)

	result, err = client.Send(ctx, canvas.New("price", "gold").Set(canvas.Options{ExpiresIn: time.Minute}))
	if err != nil {
		panic(err)
	}
	err = result.Get(ctx, nil)
	if e, ok := errors.AsType[*worker.Exception](err); ok {
		fmt.Println(e.Type, e.Args) // as a Python caller would see it raised
	}
	// Output:
	// 48
	// KeyError [gold]
}

// exampleWorker runs a worker with the tasks of a shop.
func exampleWorker() (broker *workertest.Broker, stop func()) {
	prices := map[string]int{"tea": 6, "cup": 4, "pot": 30}
	broker = workertest.NewBroker()
	w, err := worker.New(worker.Config{
		Broker: broker, Queues: []string{"shop"}, Logger: silent(), Publishing: worker.Publishing{DefaultQueue: "shop"},
		Tasks: map[string]worker.Definition{
			"price": {Handler: worker.Func(func(_ context.Context, in struct{ Article string }) (int, error) {
				p, ok := prices[in.Article]
				if !ok {
					return 0, &worker.Exception{Type: "KeyError", Args: []any{in.Article}}
				}
				return p, nil
			})},
			"sum": {Handler: worker.Func(func(_ context.Context, in struct{ Numbers []int }) (int, error) {
				sum := 0
				for _, n := range in.Numbers {
					sum += n
				}
				return sum, nil
			})},
			"tax": {Handler: worker.Func(func(_ context.Context, in struct{ Net int }) (int, error) { return in.Net * 6 / 5, nil })},
		},
	})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return broker, func() { cancel(); <-done }
}
