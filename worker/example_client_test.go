package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/workertest"
)

// exampleArithmetic are the tasks of the examples of workflows.
func exampleArithmetic() map[string]worker.Definition {
	type pair struct{ X, Y int }
	return map[string]worker.Definition{
		"add": {Handler: worker.Func(func(_ context.Context, p pair) (int, error) { return p.X + p.Y, nil })},
		"mul": {Handler: worker.Func(func(_ context.Context, p pair) (int, error) { return p.X * p.Y, nil })},
		"sum": {Handler: worker.Func(func(_ context.Context, in struct{ Numbers []int }) (int, error) {
			sum := 0
			for _, n := range in.Numbers {
				sum += n
			}
			return sum, nil
		})},
	}
}

// exampleGet sends a workflow and prints its result.
func exampleGet(client *worker.Client, s *canvas.Signature) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := client.Send(ctx, s)
	if err != nil {
		panic(err)
	}
	var value any
	if err := result.Get(ctx, &value); err != nil {
		panic(err)
	}
	fmt.Println(value)
}

// Send publishes a task, for a worker in any language, and Get waits for its result.
func ExampleClient_Send() {
	client, stop := exampleRun(exampleArithmetic())
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	result, err := client.Send(ctx, canvas.New("add", 2, 3).Set(canvas.Options{Priority: new(9), ExpiresIn: time.Hour}))
	if err != nil {
		panic(err)
	}
	var sum int
	if err := result.Get(ctx, &sum); err != nil { // as AsyncResult.get() in Python
		panic(err)
	}
	fmt.Println(sum)
	// Output: 5
}

// A chain passes the result of each task to the next one.
func ExampleClient_Send_chain() {
	client, stop := exampleRun(exampleArithmetic())
	defer stop()
	exampleGet(client, canvas.Chain(canvas.New("add", 2, 3), canvas.New("mul", 4)))
	// Output: 20
}

// A group runs tasks beside each other.
func ExampleClient_Send_group() {
	client, stop := exampleRun(exampleArithmetic())
	defer stop()
	exampleGet(client, canvas.Group(canvas.New("add", 1, 1), canvas.New("mul", 3, 4)))
	// Output: [2 12]
}

// A chord runs its body with the results of its header.
func ExampleClient_Send_chord() {
	client, stop := exampleRun(exampleArithmetic())
	defer stop()
	header := []*canvas.Signature{canvas.New("add", 1, 1), canvas.New("add", 2, 2), canvas.New("mul", 3, 4)}
	exampleGet(client, canvas.Chord(header, canvas.New("sum")))
	// Output: 18
}

// Send of a Task publishes children, which know their parent and the root of the workflow.
func ExampleTask_Send() {
	tasks := exampleArithmetic()
	tasks["plan"] = worker.Definition{Handler: worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
		child, err := t.Send(ctx, canvas.New("add", 20, 22))
		return child, err // a result can be returned: Python reads it as an AsyncResult
	})}
	client, stop := exampleRun(tasks)
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	plan, err := client.Send(ctx, canvas.New("plan"))
	if err != nil {
		panic(err)
	}
	if err := plan.Get(ctx, nil); err != nil {
		panic(err)
	}
	children, err := plan.Children(ctx)
	if err != nil {
		panic(err)
	}
	var sum int
	if err := children[0].Get(ctx, &sum); err != nil {
		panic(err)
	}
	fmt.Println(sum)
	// Output: 42
}

// Revoke keeps tasks from running that have not begun. Terminate also ends running ones.
func ExampleClient_Revoke() {
	client, stop := exampleRun(exampleArithmetic())
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	later, err := client.Send(ctx, canvas.New("add", 1, 1).Set(canvas.Options{Countdown: time.Hour}))
	if err != nil {
		panic(err)
	}
	if err := client.Revoke(ctx, later.ID); err != nil {
		panic(err)
	}
	fmt.Println(later.Get(ctx, nil))
	// Output: TaskRevokedError: revoked
}

// Status answers health checks without I/O.
func ExampleWorker_Status() {
	w, err := worker.New(worker.Config{Broker: workertest.NewBroker(), Tasks: exampleArithmetic(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	health := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if s := w.Status(); !s.Consuming {
			http.Error(rw, fmt.Sprintf("%s: %s", s.State, s.Fault), http.StatusServiceUnavailable)
		}
	})
	answer := httptest.NewRecorder()
	health.ServeHTTP(answer, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Println(answer.Code, answer.Body)
	// Output: 503 new:
}

// Handlers are tested in a real worker without Redis: workertest.Run runs one task to its
// end.
func TestGreet(t *testing.T) {
	tasks := map[string]worker.Definition{"greet": {Handler: worker.Func(greet)}}
	got := workertest.Run(t, tasks, workertest.Call{Task: "greet", Args: []any{"Ada"}})
	if got.State != "SUCCESS" || string(got.Result) != `"Hello Ada, 1 times"` {
		t.Errorf("greet = %s %s", got.State, got.Result)
	}
}
