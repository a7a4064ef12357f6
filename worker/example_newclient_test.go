package worker_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/redis"
)

// A client sends a task to the worker of the example of the package, and waits for its
// result.
func ExampleNewClient() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	broker, err := redis.New(redis.Config{URL: "redis://127.0.0.1:6379/0"})
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	client, err := worker.NewClient(worker.ClientConfig{Backend: broker})
	if err != nil {
		log.Fatal(err)
	}
	greeting := canvas.New("shop.tasks.greet", "Ada").Kwarg("times", 2)
	result, err := client.Send(ctx, greeting.Set(canvas.Options{Queue: "celery", ExpiresIn: time.Hour}))
	if err != nil {
		log.Fatal(err)
	}
	var text string
	if err := result.Get(ctx, &text); err != nil { // as AsyncResult.get() in Python
		log.Fatal(err)
	}
	fmt.Println(text)
}
