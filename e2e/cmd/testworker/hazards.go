package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
)

// begun notes that a task has begun to run, once for each run.
func (n *notes) begun(ctx context.Context) (*worker.Task, error) {
	t, ok := worker.TaskFrom(ctx)
	if !ok {
		return nil, errNoTask
	}
	return t, n.count(ctx, "e2e:begun", t.ID)
}

func (n *notes) count(ctx context.Context, key, field string) error {
	return insist(ctx, func() error {
		conn, err := n.pool.GetContext(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = redigo.DoContext(conn, ctx, "HINCRBY", key, field, 1)
		return err
	})
}

// crash ends the process at once, as the kernel does when memory runs out.
func (n *notes) crash(ctx context.Context, _ struct{}) (any, error) {
	if _, err := n.begun(ctx); err != nil {
		return nil, err
	}
	return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// mail works for a while and then takes a step that cannot be taken back, after
// it has asked whether the message is still its own.
func (n *notes) mail(ctx context.Context, in workArgs) (int, error) {
	t, err := n.begun(ctx)
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(time.Duration(in.Seconds * float64(time.Second))):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	lost := false
	// Redis may be away just then; only one answer means that it is not ours.
	if err := insist(ctx, func() error {
		if err := t.Held(ctx); !errors.Is(err, worker.ErrLost) {
			return err
		}
		lost = true
		return nil
	}); err != nil {
		return 0, err
	}
	if lost {
		return 0, worker.ErrLost
	}
	if err := n.count(ctx, "e2e:sent", t.ID); err != nil {
		return 0, err
	}
	return in.Number, n.ran(ctx)
}

// retry fails until its second retry.
func (n *notes) retry(ctx context.Context, in workArgs) (int, error) {
	t, err := n.begun(ctx)
	if err != nil {
		return 0, err
	}
	if t.Retries < 2 {
		return 0, worker.Retry(errors.New("not yet"))
	}
	return in.Number, n.ran(ctx)
}

func fail(context.Context, workArgs) (any, error) { return nil, errors.New("as was asked for") }

func panics(context.Context, workArgs) (any, error) { panic("as was asked for") }

func goexit(context.Context, workArgs) (any, error) {
	runtime.Goexit()
	return nil, nil
}

// stuck ignores its context: time limits and stops.
func stuck(_ context.Context, in workArgs) (int, error) {
	<-time.After(time.Duration(in.Seconds * float64(time.Second)))
	return in.Number, nil
}

// vitals notes what cannot be seen from outside of the process.
func (n *notes) vitals(ctx context.Context, name string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		conn, err := n.pool.GetContext(ctx)
		if err != nil {
			continue // of no use just now
		}
		_, _ = conn.Do("HSET", "e2e:goroutines", name, runtime.NumGoroutine())
		conn.Close()
	}
}
