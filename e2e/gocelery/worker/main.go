// Command worker is a worker built on gocelery, for bench to measure. It reads
// protocol 1 only, and acknowledges a message by taking it.
package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"syscall"

	"github.com/gocelery/gocelery"
	"github.com/gomodule/redigo/redis"
)

func main() {
	url := flag.String("redis", "redis://127.0.0.1:6379/0", "URL of Redis")
	queue := flag.String("queue", "bench", "queue to consume")
	concurrency := flag.Int("c", 8, "tasks at once")
	flag.Parse()
	pool := &redis.Pool{
		MaxIdle: *concurrency,
		Dial:    func() (redis.Conn, error) { return redis.DialURL(*url) },
	}
	broker := gocelery.NewRedisBroker(pool)
	broker.QueueName = *queue
	w := gocelery.NewCeleryWorker(broker, &gocelery.RedisCeleryBackend{Pool: pool}, *concurrency)
	// Of a function without a result gocelery stores none.
	w.Register("bench.noop", func() bool { return true })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w.StartWorkerWithContext(ctx)
	w.StopWait()
}
