package oteltrace_test

import (
	"context"
	"log"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/oteltrace"
	"github.com/evently/workers/worker/redis"
)

func Example() {
	broker, err := redis.New(redis.Config{URL: "redis://127.0.0.1:6379/0"})
	if err != nil {
		log.Fatal(err)
	}
	tracing := oteltrace.New(oteltrace.Config{}) // the provider that otel.SetTracerProvider was given
	w, err := worker.New(worker.Config{
		Broker:     broker,
		Tasks:      map[string]worker.Definition{"shop.tasks.greet": {Handler: worker.Func(greet)}},
		Middleware: []worker.Middleware{tracing.Middleware},
		Publishing: worker.Publishing{BeforePublish: tracing.BeforePublish},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

type greetArgs struct{ Name string }

func greet(_ context.Context, in greetArgs) (string, error) { return "Hello " + in.Name, nil }
