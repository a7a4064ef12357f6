package worker_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
)

type greetArgs struct {
	Name  string `celery:"name"`
	Times int    `celery:"times,optional"`
}

func greet(_ context.Context, a greetArgs) (string, error) {
	if a.Name == "" {
		return "", &worker.Exception{Type: "ValueError", Args: []any{"no name to greet"}}
	}
	return fmt.Sprintf("Hello %s, %d times", a.Name, max(a.Times, 1)), nil
}

// A worker for a Python producer that calls
//
//	app.send_task("shop.tasks.greet", args=["Ada"], kwargs={"times": 2}).get()
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broker, err := redis.New(redis.Config{URL: "redis://127.0.0.1:6379/0"})
	if err != nil {
		log.Fatal(err)
	}
	w, err := worker.New(worker.Config{
		Broker: broker,
		Queues: []string{"celery"},
		Tasks: map[string]worker.Definition{
			"shop.tasks.greet": {Handler: worker.Func(greet), MaxRetries: 5},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(ctx); err != nil { // until ctx ends; nil after an orderly stop
		log.Fatal(err)
	}
}
