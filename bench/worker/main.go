// Command worker is the worker that bench measures: the library with tasks that do
// next to nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/gcfloor"
	"github.com/evently/workers/worker/redis"
)

func main() {
	if err := run(); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench worker:", err)
		os.Exit(1)
	}
}

type booking struct {
	UserID  any `celery:"user_id"`
	Booking struct {
		ID any `json:"booking_id"`
	} `celery:"booking"`
}

type booked struct {
	Success   bool `json:"success"`
	UserID    any  `json:"user_id"`
	BookingID any  `json:"booking_id"`
}

func run() error {
	flags := flag.NewFlagSet("worker", flag.ContinueOnError)
	url := flags.String("redis", "redis://127.0.0.1:6379/0", "URL of Redis")
	queue := flags.String("queue", "bench", "queue to consume")
	concurrency := flags.Int("c", 8, "tasks at once")
	prefetch := flags.Int("prefetch", 0, "messages held for each task that may run at once; 0: the default")
	events := flags.Bool("E", false, "send events")
	track := flags.Bool("track", false, "store STARTED, and have the time limits of the service")
	profile := flags.String("cpuprofile", "", "write a CPU profile to this file")
	memory := flags.String("memprofile", "", "write what was allocated to this file")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if *memory != "" {
		runtime.MemProfileRate = 4096
		defer func() {
			f, err := os.Create(*memory)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			defer f.Close()
			_ = pprof.Lookup("allocs").WriteTo(f, 0)
		}()
	}
	defer gcfloor.Keep(gcfloor.Usual)() // as evently-workers does
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	broker, err := redis.New(redis.Config{URL: *url, Logger: log})
	if err != nil {
		return err
	}
	noop := worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, nil })
	book := worker.Func(func(_ context.Context, in booking) (booked, error) {
		return booked{Success: true, UserID: in.UserID, BookingID: in.Booking.ID}, nil
	})
	var hard, soft time.Duration
	if *track {
		hard, soft = 300*time.Second, 240*time.Second
	}
	w, err := worker.New(worker.Config{
		TrackStarted: *track, TaskTimeLimit: hard, TaskSoftTimeLimit: soft,
		Broker: broker, Queues: []string{*queue}, Concurrency: *concurrency, PrefetchMultiplier: worker.Prefetch(*prefetch), SendTaskEvents: *events, Logger: log,
		Tasks: map[string]worker.Definition{
			"bench.noop": {Handler: noop}, "bench.noop_ignored": {Handler: noop, IgnoreResult: true},
			"bench.json": {Handler: book}, "bench.json_ignored": {Handler: book, IgnoreResult: true},
		},
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
