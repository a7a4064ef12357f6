package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/workertest"
)

// exampleRun starts a worker with these tasks on a broker in memory, and a client for it.
func exampleRun(tasks map[string]worker.Definition, change ...func(*worker.Config)) (client *worker.Client, stop func()) {
	broker := workertest.NewBroker()
	publishing := worker.Publishing{DefaultQueue: "shop"}
	cfg := worker.Config{Broker: broker, Queues: []string{"shop"}, Tasks: tasks, Publishing: publishing, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	w, err := worker.New(cfg)
	if err != nil {
		panic(err)
	}
	client, err = worker.NewClient(worker.ClientConfig{Backend: broker, Publishing: publishing})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return client, func() {
		cancel()
		if err := <-done; err != nil {
			panic(err)
		}
	}
}

// exampleCall sends a task and prints its result or its error.
func exampleCall(client *worker.Client, task string, args ...any) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := client.Send(ctx, canvas.New(task, args...))
	if err != nil {
		panic(err)
	}
	var value any
	if err := result.Get(ctx, &value); err != nil {
		fmt.Println(task, "failed:", err)
		return
	}
	fmt.Println(task, "returned", value)
}

// Func makes a handler of a function with typed arguments. Wrong calls fail with the
// TypeError that Python raises.
func ExampleFunc() {
	type order struct {
		Article string `celery:"article"`
		Count   int    `celery:"count,optional"`
	}
	client, stop := exampleRun(map[string]worker.Definition{
		"order": {Handler: worker.Func(func(_ context.Context, o order) (string, error) {
			return fmt.Sprintf("%d × %s", max(o.Count, 1), o.Article), nil
		})},
	})
	defer stop()
	exampleCall(client, "order", "tea", 3)
	exampleCall(client, "order")
	// Output:
	// order returned 3 × tea
	// order failed: TypeError: order() missing required argument: 'article'
}

// Retry publishes the task again, after the backoff of its definition.
func ExampleRetry() {
	attempts := 0
	client, stop := exampleRun(map[string]worker.Definition{
		"charge": {
			Handler: worker.Func(func(context.Context, struct{}) (string, error) {
				if attempts++; attempts < 3 {
					return "", worker.Retry(errors.New("payment provider unavailable"))
				}
				return fmt.Sprintf("paid at attempt %d", attempts), nil
			}),
			MaxRetries: 5,
			Backoff:    worker.Backoff{Base: time.Millisecond, Jitter: 0.2},
		},
	})
	defer stop()
	exampleCall(client, "charge")
	// Output: charge returned paid at attempt 3
}

// A RetryError sets the delay of one attempt. A free one does not count against
// MaxRetries.
func ExampleRetryError() {
	throttled := true
	client, stop := exampleRun(map[string]worker.Definition{
		"notify": {
			Handler: worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
				if throttled {
					throttled = false
					return nil, &worker.RetryError{Err: errors.New("throttled"), Countdown: time.Millisecond, Free: true}
				}
				return fmt.Sprintf("%d retries spent", t.Retries), nil
			}),
			MaxRetries: worker.NoRetries,
		},
	})
	defer stop()
	exampleCall(client, "notify")
	// Output: notify returned 0 retries spent
}

// An Exception names the Python exception that AsyncResult.get() raises.
func ExampleException() {
	client, stop := exampleRun(map[string]worker.Definition{
		"stock": {Handler: worker.Func(func(_ context.Context, in struct{ Article string }) (int, error) {
			return 0, &worker.Exception{Type: "KeyError", Args: []any{in.Article}}
		})},
	})
	defer stop()
	exampleCall(client, "stock", "unicorn")
	// Output: stock failed: KeyError: unicorn
}

// Reject moves the message to the dead letters, where an operator decides.
func ExampleReject() {
	broker := workertest.NewBroker()
	client, stop := exampleRun(map[string]worker.Definition{
		"import": {Handler: worker.Func(func(context.Context, struct{}) (any, error) {
			return nil, worker.Reject("file of an unknown version")
		})},
	}, func(c *worker.Config) { c.Broker = broker })
	defer stop()
	_ = client
	id, err := examplePublish(broker, "import")
	if err != nil {
		panic(err)
	}
	for changed := broker.Changed(); len(broker.DeadLetters()) == 0; changed = broker.Changed() {
		<-changed
	}
	letter := broker.DeadLetters()[0]
	fmt.Println(letter.TaskName, "set aside:", letter.Reason, letter.TaskID == id)
	// Output: import set aside: rejected: file of an unknown version true
}

// examplePublish sends a task to a broker and returns its id.
func examplePublish(broker *workertest.Broker, task string) (string, error) {
	client, err := worker.NewClient(worker.ClientConfig{Backend: broker, Publishing: worker.Publishing{DefaultQueue: "shop"}})
	if err != nil {
		return "", err
	}
	r, err := client.Send(context.Background(), canvas.New(task))
	if err != nil {
		return "", err
	}
	return r.ID, nil
}

// GiveBack leaves the message for later when no task of its kind can do its work now.
func ExampleGiveBack() {
	var relayIsUp atomic.Bool
	client, stop := exampleRun(map[string]worker.Definition{
		"mail": {Handler: worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) {
			if !relayIsUp.Swap(true) {
				return nil, worker.GiveBack(errors.New("the relay is unavailable"))
			}
			return fmt.Sprintf("sent, attempt %d", t.Retries+1), nil
		})},
	})
	defer stop()
	exampleCall(client, "mail")
	// Output: mail returned sent, attempt 1
}

// GiveUp answers the caller and keeps the message as a dead letter.
func ExampleGiveUp() {
	client, stop := exampleRun(map[string]worker.Definition{
		"mail": {Handler: worker.Func(func(context.Context, struct{}) (any, error) {
			return nil, worker.GiveUp(map[string]any{"success": false}, "recipient refused")
		})},
	})
	defer stop()
	exampleCall(client, "mail")
	// Output: mail returned map[success:false]
}

// Middleware wraps every handler. The first one is the outermost.
func ExampleMiddleware() {
	timed := func(next worker.Handler) worker.Handler {
		return worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
			began := time.Now()
			result, err := next.Run(ctx, t)
			fmt.Println(t.Name, "ended:", worker.StateAfter(ctx, t, err), time.Since(began) < time.Minute)
			return result, err
		})
	}
	client, stop := exampleRun(map[string]worker.Definition{
		"greet": {Handler: worker.Func(func(_ context.Context, in struct{ Name string }) (string, error) { return "Hello " + in.Name, nil })},
	}, func(c *worker.Config) { c.Middleware = []worker.Middleware{timed} })
	defer stop()
	exampleCall(client, "greet", "Ada")
	// Output:
	// greet ended: SUCCESS true
	// greet returned Hello Ada
}

// UpdateState stores a state of its own, which callers read while the task runs.
func ExampleTask_UpdateState() {
	reached, goOn := make(chan struct{}), make(chan struct{})
	client, stop := exampleRun(map[string]worker.Definition{
		"export": {Handler: worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
			if err := t.UpdateState(ctx, "PROGRESS", map[string]int{"done": 40, "of": 100}); err != nil {
				return nil, err
			}
			close(reached)
			<-goOn
			return "exported", nil
		})},
	})
	defer stop()
	ctx := context.Background()
	result, err := client.Send(ctx, canvas.New("export"))
	if err != nil {
		panic(err)
	}
	<-reached
	state, err := result.State(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(state)
	close(goOn)
	// Output: PROGRESS
}

// Held asks directly before a step that cannot be taken back whether the message is still
// this worker's. After a pause of the process another worker may have it.
func ExampleTask_Held() {
	client, stop := exampleRun(map[string]worker.Definition{
		"transfer": {Handler: worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
			if err := t.Held(ctx); err != nil {
				return nil, err // with ErrLost nothing is stored: the other worker decides
			}
			return "transferred", nil
		})},
	})
	defer stop()
	exampleCall(client, "transfer")
	// Output: transfer returned transferred
}

// Replace lets a task go on as another one, or as a workflow.
func ExampleReplace() {
	client, stop := exampleRun(map[string]worker.Definition{
		"total": {Handler: worker.Func(func(_ context.Context, in struct{ Prices []int }) (any, error) {
			return nil, worker.Replace(canvas.New("sum", in.Prices))
		})},
		"sum": {Handler: worker.Func(func(_ context.Context, in struct{ Numbers []int }) (int, error) {
			sum := 0
			for _, n := range in.Numbers {
				sum += n
			}
			return sum, nil
		})},
	})
	defer stop()
	exampleCall(client, "total", []int{6, 4, 30})
	// Output: total returned 40
}

// An ErrorCallback runs in the worker where the linked task failed.
func ExampleErrorCallback() {
	told := make(chan string, 1)
	client, stop := exampleRun(map[string]worker.Definition{
		"pay":    {Handler: worker.Func(func(context.Context, struct{}) (any, error) { return nil, errors.New("card expired") })},
		"refund": {Handler: worker.Func(func(context.Context, struct{}) (any, error) { return nil, nil }), ErrorCallback: func(_ context.Context, f *worker.FailedTask) error { told <- f.Exception.Error(); return nil }},
	})
	defer stop()
	_, err := client.Send(context.Background(), canvas.New("pay").Set(canvas.Options{LinkError: []*canvas.Signature{canvas.New("refund")}}))
	if err != nil {
		panic(err)
	}
	fmt.Println(<-told)
	// Output: Exception: card expired
}

// RateLimit bounds a task, here to 10 a minute for each worker.
func ExampleDefinition_rateLimit() {
	client, stop := exampleRun(map[string]worker.Definition{
		"sms": {Handler: worker.Func(func(context.Context, struct{}) (string, error) { return "sent", nil }), RateLimit: "10/m"},
	})
	defer stop()
	exampleCall(client, "sms")
	// Output: sms returned sent
}

// Time limits end the context of a handler. The soft one leaves it time to clean up.
func ExampleDefinition_timeLimits() {
	client, stop := exampleRun(map[string]worker.Definition{
		"crawl": {
			Handler: worker.Func(func(ctx context.Context, _ struct{}) (string, error) {
				<-ctx.Done()
				if errors.Is(context.Cause(ctx), worker.ErrSoftTimeLimit) {
					return "half of the pages", nil
				}
				return "", ctx.Err()
			}),
			SoftTimeLimit: 10 * time.Millisecond, TimeLimit: time.Minute,
		},
	})
	defer stop()
	exampleCall(client, "crawl")
	// Output: crawl returned half of the pages
}
