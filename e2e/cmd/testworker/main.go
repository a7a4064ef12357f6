// Command testworker runs the worker library with tasks made for tests: they
// wait, add and crash, and note each run in Redis, so that a test can count.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "testworker:", err)
		os.Exit(1)
	}
}

func run() error {
	url := flag.String("redis", "redis://127.0.0.1:6379/0", "broker `URL`")
	queue := flag.String("queue", "celery", "queue to consume")
	name := flag.String("name", "testworker@%h", "node name")
	concurrency := flag.Int("concurrency", 4, "tasks at once")
	prefetch := flag.Int("prefetch", 1, "prefetch multiplier")
	visibility := flag.Duration("visibility", time.Hour, "visibility timeout")
	owner := flag.Duration("owner-timeout", 0, "silence after which a sibling is dead; 0: the library's default")
	grace := flag.Duration("grace", 25*time.Second, "grace of a stop")
	redeliveries := flag.Int("redeliveries", 3, "crashes that a message may cause")
	unknown := flag.String("unknown", "dead-letter", "policy for unknown tasks: dead-letter, requeue, reject")
	autoscale := flag.Int("autoscale", 0, "most slots, from 1 on, by the load; 0: as many as -concurrency says")
	events := flag.Bool("events", false, "send the events of tasks from the start")
	limit := flag.Duration("time-limit", 0, "hard time limit of tasks; 0: none")
	master := flag.String("master", "", "name of the master that Sentinels watch")
	deadMax := flag.Int("dead-max", 0, "dead letters that are kept; 0: the library's default")
	vitals := flag.Bool("vitals", false, "note the number of goroutines once a second")
	control := flag.String("control", "full", "what remote control may do: full, harmless, off")
	extended := flag.Bool("extended", false, "store names and arguments with results")
	maxBytes := flag.Int("max-bytes", protocol.DefaultSize, "largest message that is read")
	least := flag.Duration("least", 0, "shortest time that e2e.work takes")
	debug := flag.Bool("debug", false, "log everything")
	flag.Parse()

	policies := map[string]worker.UnknownTaskPolicy{
		"dead-letter": worker.DeadLetterUnknown, "requeue": worker.RequeueUnknown, "reject": worker.RejectUnknown,
	}
	policy, ok := policies[*unknown]
	if !ok {
		return fmt.Errorf("-unknown %q: want dead-letter, requeue or reject", *unknown)
	}
	modes := map[string]worker.ControlMode{"full": worker.ControlFull, "harmless": worker.ControlHarmless, "off": worker.ControlOff}
	mode, ok := modes[*control]
	if !ok {
		return fmt.Errorf("-control %q: want full, harmless or off", *control)
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	broker, err := redis.New(redis.Config{
		URL: *url, VisibilityTimeout: *visibility, OwnerTimeout: *owner, ResultExpires: time.Hour, Logger: log,
		SentinelMaster: *master, DeadLettersMax: *deadMax, MaxMessageSize: *maxBytes,
	})
	if err != nil {
		return err
	}
	notes := newNotes(*url)
	notes.least = *least
	defer notes.pool.Close()
	var scale worker.Autoscale
	if *autoscale > 0 {
		scale = worker.Autoscale{Min: 1, Max: *autoscale}
	}
	tasks := notes.flowTasks()
	maps.Copy(tasks, notes.tasks())
	queues := strings.Split(*queue, ",")
	w, err := worker.New(worker.Config{
		Autoscale: scale,
		Broker:    broker, Name: *name, Queues: queues,
		Concurrency: *concurrency, PrefetchMultiplier: worker.Prefetch(*prefetch), Grace: *grace,
		MaxRedeliveries: *redeliveries, UnknownTasks: policy, TrackStarted: true, SendTaskEvents: *events, Logger: log,
		TaskTimeLimit: *limit, Control: mode, Limits: protocol.Limits{Size: *maxBytes},
		Tasks: tasks, ResultExtended: *extended, Software: "evently-workers", Publishing: worker.Publishing{DefaultQueue: queues[0]},
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	stopped := make(chan struct{})
	var more sync.WaitGroup
	defer more.Wait()
	more.Go(func() { // a second signal ends the grace, as in evently-workers
		<-ctx.Done()
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(again)
		select {
		case <-again:
			w.StopNow()
		case <-stopped:
		}
	})
	if *vitals {
		more.Go(func() { notes.vitals(ctx, *name) })
	}
	defer close(stopped)
	defer stop()
	return w.Run(ctx)
}

// tasks are those of testdata/peer.py, and some that only this worker has.
func (n *notes) tasks() map[string]worker.Definition {
	return map[string]worker.Definition{
		"e2e.work":   {Handler: worker.Func(n.work)},
		"e2e.add":    {Handler: worker.Func(n.add)},
		"e2e.sum":    {Handler: worker.Func(n.sum)},
		"e2e.crash":  {Handler: worker.Func(n.crash)},
		"e2e.mail":   {Handler: worker.Func(n.mail)},
		"e2e.fail":   {Handler: worker.Func(fail)},
		"e2e.panic":  {Handler: worker.Func(panics)},
		"e2e.goexit": {Handler: worker.Func(goexit)},
		"e2e.stuck":  {Handler: worker.Func(stuck)},
		"e2e.secret": {Handler: worker.Func(n.secret), Backoff: worker.Backoff{Base: 100 * time.Millisecond}},
		"e2e.codes":  {Handler: worker.Func(n.secret), ArgumentsAreSecret: true},
		"e2e.retry":  {Handler: worker.Func(n.retry), Backoff: worker.Backoff{Base: 100 * time.Millisecond}},
	}
}

// notes writes down which tasks ran, over connections of its own: straight to
// Redis, whatever stands between the worker and its broker.
type notes struct {
	pool  *redigo.Pool
	least time.Duration // of e2e.work
}

func newNotes(url string) *notes {
	if direct := os.Getenv("NOTES_URL"); direct != "" {
		url = direct
	}
	return &notes{pool: &redigo.Pool{
		MaxIdle: 4,
		DialContext: func(ctx context.Context) (redigo.Conn, error) {
			return redigo.DialURLContext(ctx, url, redigo.DialReadTimeout(5*time.Second), redigo.DialWriteTimeout(5*time.Second))
		},
	}}
}

var errNoTask = errors.New("no task in the context of a handler")

// ran notes one run to the end: its number and its place in the order.
func (n *notes) ran(ctx context.Context) error {
	t, ok := worker.TaskFrom(ctx)
	if !ok {
		return errNoTask
	}
	return insist(ctx, func() error { return n.note(ctx, t) })
}

// insist tries again until a note is written: Redis may be away or full just then,
// which must not turn the task into a failure.
func insist(ctx context.Context, write func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := write()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("note the run: %w", err)
		case <-tick.C:
		}
	}
}

func (n *notes) note(ctx context.Context, t *worker.Task) error {
	conn, err := n.pool.GetContext(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.Send("MULTI")
	conn.Send("RPUSH", "e2e:order", t.ID)
	conn.Send("HINCRBY", "e2e:ran", t.ID, 1)
	conn.Send("HINCRBY", "e2e:by", "go", 1)
	conn.Send("HSET", "e2e:at", t.ID, time.Now().UnixMilli())
	if t.Redelivered {
		conn.Send("HINCRBY", "e2e:redelivered", t.ID, 1)
	}
	_, err = conn.Do("EXEC")
	return err
}

type workArgs struct {
	Seconds float64 `celery:"seconds"`
	Number  int     `celery:"number"`
}

// work takes a while and returns its number.
func (n *notes) work(ctx context.Context, in workArgs) (int, error) {
	done := time.NewTimer(max(n.least, time.Duration(in.Seconds*float64(time.Second))))
	defer done.Stop()
	select {
	case <-done.C:
		return in.Number, n.ran(ctx)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

type addArgs struct {
	X int `celery:"x"`
	Y int `celery:"y"`
}

func (n *notes) add(ctx context.Context, in addArgs) (int, error) {
	return in.X + in.Y, n.ran(ctx)
}

// sum is the body of a chord. The same message may run twice after a crash; a
// second message, with a tag of its own, is a body that was published twice.
func (n *notes) sum(ctx context.Context, in struct{ Numbers []int }) (int, error) {
	t, ok := worker.TaskFrom(ctx)
	if !ok {
		return 0, errNoTask
	}
	sum := 0
	for _, number := range in.Numbers {
		sum += number
	}
	// Long enough for a kill to hit some of them.
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	conn, err := n.pool.GetContext(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := redigo.DoContext(conn, ctx, "SADD", "e2e:tags:"+t.ID, t.Message.DeliveryTag); err != nil {
		return 0, err
	}
	return sum, n.ran(ctx)
}
