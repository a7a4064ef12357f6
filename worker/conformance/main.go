// Command conformance is a worker with the tasks of Celery's own integration suite
// (t/integration in a source distribution of Celery). The suite runs as the producer, in
// Python, with this program instead of its worker; see "make conformance".
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// acksEarly lists the tasks that acknowledge early, as in the suite, which inspects
// whether they are acknowledged. The harness waits for the acknowledgement of the others.
var acksEarly = []string{"sleeping"}

// run takes its configuration from the variables that the harness sets.
func run() error {
	url := os.Getenv("TEST_BROKER")
	if url == "" {
		return errors.New("TEST_BROKER is not set: start this program by make conformance")
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	broker, err := redis.New(redis.Config{URL: url, Logger: log})
	if err != nil {
		return err
	}
	side := newSide(fmt.Sprintf("redis://%s:%s/0", os.Getenv("REDIS_HOST"), os.Getenv("REDIS_PORT")))
	defer side.Close()

	tasks := map[string]worker.Definition{
		"celery.ping": {Handler: worker.Func(func(context.Context, struct{}) (string, error) { return "pong", nil })},
		// The only task that is named by its class.
		"auto_retry_class_task": {
			Handler: worker.Func(autoRetry), MaxRetries: 1,
			Backoff: worker.Backoff{Base: time.Second, Jitter: 1},
		},
	}
	for _, table := range []map[string]worker.Definition{
		plainTasks(), errorTasks(), retryTasks(), requestTasks(), canvasTasks(), side.tasks(),
	} {
		for name, d := range table {
			d.AcksEarly = slices.Contains(acksEarly, name)
			tasks["t.integration.tasks."+name] = d
		}
	}
	w, err := worker.New(worker.Config{
		Broker: broker, Tasks: maps.Clone(tasks), Concurrency: 1, ResultExtended: true, Logger: log,
		Grace: 2 * time.Second, IgnoreResultAsSent: true, // as the suite is that of Celery 5.7
		// Celery has no such limit, and a test sends a chord of 1,000 tasks.
		Limits: protocol.Limits{Elements: 100_000},
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return w.Run(ctx)
}
