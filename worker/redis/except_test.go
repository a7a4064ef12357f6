package redis_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A health check behind a backlog of thousands of held tasks is answered soon, wherever it is
// in the queue. The held tasks stay as they are.
func TestHealthCheckBehindHeldTasks(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	const backlog = 4000
	var early, held []string
	for i := range backlog {
		if i%1000 == 500 {
			early = append(early, send(t, c, "q", "health", "[]"))
		}
		held = append(held, send(t, c, "q", "mail", "[]"))
	}
	w, _ := runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: map[string]worker.Definition{
		"mail": nothing()["nothing"], "health": nothing()["nothing"],
	}, Concurrency: 4})
	w.Hold("mail") // some mails may run before
	began := time.Now()
	for _, id := range early {
		eventually(t, "the early health check is answered", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
	t.Logf("%d early health checks in a queue of %d: %v", len(early), backlog, time.Since(began))
	for range 5 {
		began := time.Now()
		id := send(t, c, "q", "health", "[]")
		eventually(t, "the health check is answered", func() bool { return result(t, c, id).Status == "SUCCESS" })
		t.Logf("answered after %v", time.Since(began)) // a quarter of a second on a quiet machine
	}
	eventually(t, "nothing is claimed", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
	var left []string
	for _, raw := range must(redigo.ByteSlices(c.Do("LRANGE", "q", 0, -1)))(t) {
		left = append(left, must(protocol.ParseEnvelope(raw))(t).ID)
	}
	slices.Reverse(left)
	if want := held[len(held)-len(left):]; !slices.Equal(left, want) {
		t.Errorf("%d messages are left, and not the last ones in their order", len(left))
	}
	w.Hold()
	eventually(t, "all have run", func() bool { return count(t, c, "LLEN", "q") == 0 && count(t, c, "HLEN", "unacked") == 0 })
	for _, id := range held[len(held)-100:] {
		eventually(t, "it has succeeded", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
}

// Workers that hold tasks, one that consumes all as Python does, and producers share a queue.
// The server is killed and connections break in between. Each message is consumed once, and
// the held tasks in the order in which they came.
func TestHoldBesideOtherConsumers(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	const n = 1500
	var brokers []*redis.Broker
	for range 3 {
		brokers = append(brokers, queues(t, redis.Config{URL: s.URL(0)}, "q"))
	}
	kind := map[string]string{}
	var order []string
	var raws []any
	for i := range n {
		task := "mail"
		if i%5 == 0 {
			task = "health"
		}
		id := send(t, c, "staging", task, "[]")
		kind[id] = task
		if task == "mail" {
			order = append(order, id)
		}
	}
	for _, raw := range must(redigo.ByteSlices(c.Do("LRANGE", "staging", 0, -1)))(t) {
		raws = append(raws, raw)
	}
	slices.Reverse(raws)
	do(t, c, "DEL", "staging")

	var mu sync.Mutex
	taken := map[string]int{}
	var mails []string
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var loops sync.WaitGroup
	over := make(chan struct{})
	running := func() bool {
		select {
		case <-over:
			return false
		default:
			return ctx.Err() == nil
		}
	}
	for _, b := range brokers {
		loops.Go(func() {
			for running() {
				ds, err := b.ClaimExcept(ctx, []string{"mail"}, 7)
				if err != nil || len(ds) == 0 {
					time.Sleep(2 * time.Millisecond)
					continue
				}
				for _, d := range ds {
					env, err := protocol.ParseEnvelope(d.Raw)
					if err != nil || env.Task != "health" {
						t.Errorf("claimed %s (%v)", d.Raw, err)
					}
					for {
						_, err := b.Settle(ctx, broker.Settlement{Delivery: d})
						if err == nil || ctx.Err() != nil {
							break
						}
						if err == broker.ErrLost { // settled by an attempt whose reply was lost, or given back
							break
						}
						time.Sleep(time.Millisecond)
					}
					mu.Lock()
					taken[env.ID]++
					mu.Unlock()
				}
			}
		})
	}
	loops.Go(func() { // a consumer of all
		var conn redigo.Conn
		for running() {
			if conn == nil || conn.Err() != nil {
				conn, _ = redigo.Dial("tcp", s.Addr)
				if conn == nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
			}
			// Moved, because a pop whose reply is lost would lose the message.
			raw, err := redigo.Bytes(conn.Do("LMOVE", "q", "python", "RIGHT", "LEFT"))
			if err != nil || raw == nil {
				time.Sleep(time.Millisecond)
				continue
			}
			time.Sleep(500 * time.Microsecond)
		}
		if conn != nil {
			conn.Close()
		}
	})
	for i, raw := range raws {
		for {
			if _, err := c.Do("LPUSH", "q", raw); err == nil {
				break
			} else if i != 700 {
				t.Fatal(err)
			}
		}
		switch {
		case i == 700:
			s.Kill()
			s.Up()
			c = s.Conn(0)
		case i%50 == 0:
			brokers[i/50%len(brokers)].Reset()
		}
		if i%10 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	eventually(t, "the queue is empty", func() bool { return count(t, c, "LLEN", "q") == 0 })
	eventually(t, "what was claimed is settled or back", func() bool {
		return count(t, c, "HLEN", "unacked") == 0 && count(t, c, "LLEN", "q") == 0
	})
	close(over)
	loops.Wait()
	for _, raw := range slices.Backward(must(redigo.ByteSlices(c.Do("LRANGE", "python", 0, -1)))(t)) {
		id := must(protocol.ParseEnvelope(raw))(t).ID
		taken[id]++
		if kind[id] == "mail" {
			mails = append(mails, id)
		}
	}
	for id, task := range kind {
		if taken[id] != 1 {
			t.Errorf("%s %s was consumed %d times", task, id, taken[id])
		}
	}
	if !slices.Equal(mails, order) {
		t.Errorf("%d held tasks were consumed, not in the order of the %d that were sent", len(mails), len(order))
	}
}

// A Python worker goes on to consume held tasks, in their order, beside workers that hold
// them. Each task runs once.
func TestHoldBesidePython(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	cmd := exec.CommandContext(t.Context(), celeryPython(t), "testdata/hold.py", s.URL(0))
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore", "C_FORCE_ROOT=1")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Celery: %s", output.Bytes())
		}
	}()
	first := send(t, c, "q", "mail", "[]")
	eventually(t, "the Python worker runs", func() bool { return result(t, c, first).Status == "SUCCESS" })

	var mu sync.Mutex
	ran := map[string]int{}
	note := worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		ran[task.ID]++
		if task.Name == "mail" {
			t.Errorf("the held task %s has run", task.ID)
		}
		return 1, nil
	})
	tasks := map[string]worker.Definition{"mail": {Handler: note}, "health": {Handler: note}}
	for range 2 {
		w, _ := runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: tasks, Concurrency: 2})
		w.Hold("mail")
		eventually(t, "the worker consumes", func() bool { return w.Status().Consuming })
	}
	mails, all := []string{first}, []string{first}
	for i := range 400 {
		name := "mail"
		if i%4 == 0 {
			name = "health"
		}
		id := send(t, c, "q", name, "[]")
		if all = append(all, id); name == "mail" {
			mails = append(mails, id)
		}
	}
	for _, id := range all {
		eventually(t, "the task has run", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
	eventually(t, "all are acknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 && count(t, c, "LLEN", "q") == 0 })
	mu.Lock()
	defer mu.Unlock()
	ours := len(ran)
	var order []string
	for _, id := range must(redigo.Strings(c.Do("LRANGE", "ran", 0, -1)))(t) {
		if ran[id]++; slices.Contains(mails, id) {
			order = append(order, id)
		}
	}
	for _, id := range all {
		if ran[id] != 1 {
			t.Errorf("%s has run %d times", id, ran[id])
		}
	}
	if !slices.Equal(order, mails) {
		t.Error("the Python worker has run the held tasks in another order")
	}
	if ours == 0 {
		t.Error("the workers that hold tasks have run no other: this test proves nothing")
	}
}

// A refused look is an error, and not an empty queue: a Redis that reads its data after a start would
// look well. A key of another type has no messages.
func TestRefusedLookBesideHeldTasks(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	do(t, c, "ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", "-llen")
	url := strings.Replace(s.URL(0), "redis://", "redis://worker:secret@", 1)
	b := must(redis.New(redis.Config{URL: url, Logger: quiet()}))(t)
	defer b.Close()
	if err := b.Consume(broker.Session{Node: "w", Queues: []string{"q"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ClaimExcept(t.Context(), []string{"mail"}, 1); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("look beside held tasks: %v", err)
	}
	if depths, err := b.Depths(t.Context()); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("depths: %v, %v", depths, err)
	}
	do(t, c, "ACL", "SETUSER", "worker", "+llen")
	do(t, c, "SET", "q", "of another type")
	if ds, err := b.ClaimExcept(t.Context(), []string{"mail"}, 1); err != nil || len(ds) > 0 {
		t.Errorf("a key of another type: %v, %v", ds, err)
	}
}
