package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/inspect"
)

// runQueues runs a worker of this library that counts its runs.
func runQueues(t *testing.T, url, name string, control worker.ControlMode, ran *atomic.Int64, queues ...string) context.CancelFunc {
	t.Helper()
	w, err := worker.New(worker.Config{
		Broker: openBroker(t, url), Name: name, Queues: queues, Concurrency: 2, WithoutMingle: true, Control: control, MaxConcurrency: 3,
		Software: "shop-workers",
		Tasks: map[string]worker.Definition{"shop.go": {Handler: worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) {
			ran.Add(1)
			return nil, nil
		})}},
		Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop := func() {
		cancel()
		if done == nil {
			return
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		done = nil
	}
	t.Cleanup(stop)
	return stop
}

// patient returns a context for one question to workers that are there: each answers in the end, also on
// a busy machine.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A pause reaches workers of both kinds, and workers of this kind that start later. Nothing is
// lost by it.
func TestPause(t *testing.T) {
	server := testkit.StartRedis(t)
	o := inspect.NewOperator(openBroker(t, server.URL()))
	var ran atomic.Int64
	runQueues(t, server.URL(), "one@h", worker.ControlFull, &ran, "go", "python-"+testkit.CeleryNew)
	startPython(t, testkit.CeleryNew, server.URL())
	python := "python-" + testkit.CeleryNew
	testkit.Eventually(t, 60*time.Second, "both workers answer", func() bool {
		queues, _, err := o.Consumers(patient(t))
		return err == nil && len(queues["go"]) == 1 && len(queues[python]) == 2
	})
	for _, queue := range []string{"go", python} {
		answers, err := o.Pause(patient(t), queue, "ops", "the relay refuses us")
		if err != nil || inspect.Failed(answers) != nil {
			t.Fatal(err, answers)
		}
		if (len(answers) == 1) != (queue == python) {
			t.Errorf("answers %+v to a pause of %s", answers, queue)
		}
	}
	testkit.Eventually(t, 30*time.Second, "no worker consumes", func() bool {
		queues, answered, err := o.Consumers(patient(t))
		return err == nil && answered == 2 && len(queues) == 0 // a silent one may consume
	})
	paused, err := o.Paused(patient(t), "go", python, "other")
	if err != nil || len(paused) != 2 || paused["go"].By != "ops" || paused["go"].Note != "the relay refuses us" || paused["go"].At.IsZero() || !slices.Equal(paused[python].Python, []string{python + "@h"}) {
		t.Errorf("paused: %+v, %v", paused, err)
	}
	runQueues(t, server.URL(), "two@h", worker.ControlFull, &ran, "go")
	for range 5 {
		send(t, server.URL(), "go", "shop.go")
	}
	testkit.Eventually(t, 30*time.Second, "the second worker answers", func() bool {
		ws, err := o.Workers(patient(t))
		return err == nil && len(ws) == 3
	})
	time.Sleep(300 * time.Millisecond) // in which an unpaused worker would have claimed
	if n := server.Do("LLEN", "go"); fmt.Sprint(n) != "5" || ran.Load() != 0 {
		t.Errorf("%v messages wait, %d have run", n, ran.Load())
	}
	for _, queue := range []string{"go", python} {
		if answers, err := o.Resume(patient(t), queue); err != nil || inspect.Failed(answers) != nil {
			t.Error(err, answers)
		}
	}
	testkit.Eventually(t, 30*time.Second, "all have run, and all consume", func() bool {
		queues, _, err := o.Consumers(patient(t))
		return err == nil && ran.Load() == 5 && len(queues["go"]) == 2 && len(queues[python]) == 2
	})
}

// Workers of both kinds are drained, filled, resized, limited and stopped.
func TestOperator(t *testing.T) {
	server := testkit.StartRedis(t)
	o := inspect.NewOperator(openBroker(t, server.URL()))
	var ran atomic.Int64
	runQueues(t, server.URL(), "go@h", worker.ControlFull, &ran, "go", "more")
	startPython(t, testkit.CeleryNew, server.URL())
	python := "python-" + testkit.CeleryNew + "@h"
	testkit.Eventually(t, 60*time.Second, "both workers answer", func() bool {
		ws, err := o.Workers(patient(t))
		return err == nil && len(ws) == 2
	})
	for _, node := range []string{"go@h", python} {
		answered := func(answers []inspect.Answer, err error) {
			t.Helper()
			if err = errors.Join(err, inspect.Failed(answers)); err != nil || len(answers) != 1 || answers[0].Node != node {
				t.Errorf("%s: %+v, %v", node, answers, err)
			}
		}
		answered(o.Drain(patient(t), node, "ops"))
		drained, err := o.Drained(patient(t), node, "other")
		if err != nil || len(drained[node].Queues) == 0 || drained[node].By != "ops" {
			t.Errorf("%s drained: %+v, %v", node, drained, err)
		}
		// Celery answers before it has cancelled.
		var d inspect.Detail
		testkit.Eventually(t, 30*time.Second, node+" consumes no queue", func() bool {
			d, err = o.Detail(patient(t), node)
			return err == nil && len(d.Queues) == 0
		})
		answered(o.Fill(patient(t), node))
		if _, err := o.Fill(patient(t), node); !errors.Is(err, inspect.ErrNotDrained) {
			t.Errorf("filled twice: %v", err)
		}
		answered(o.Grow(patient(t), 1, node))
		testkit.Eventually(t, 30*time.Second, "the pool has grown", func() bool {
			d, err = o.Detail(patient(t), node)
			return err == nil && d.Concurrency == 3 && len(d.Queues) > 0
		})
		if d.Memory < 1<<20 || d.Pool == "" || !slices.ContainsFunc(d.Registered, func(name string) bool { return strings.HasPrefix(name, "shop.") }) {
			t.Errorf("%s: %+v", node, d)
		}
		answered(o.Shrink(patient(t), 1, node))
		answered(o.RateLimit(patient(t), d.Registered[slices.IndexFunc(d.Registered, func(name string) bool { return strings.HasPrefix(name, "shop.") })], "10/m", node))
		answered(o.AddConsumer(patient(t), "extra", node))

		// A queue that is paused while the worker is drained begins only with Fill.
		consumes := func() []string {
			d, err := o.Detail(patient(t), node)
			if err != nil {
				t.Error(err)
			}
			return d.Queues
		}
		testkit.Eventually(t, 30*time.Second, node+" consumes the queue", func() bool { return slices.Contains(consumes(), "extra") })
		if _, err := o.Pause(patient(t), "extra", "ops", ""); err != nil {
			t.Error(err)
		}
		testkit.Eventually(t, 30*time.Second, node+" does not consume the paused queue", func() bool { return !slices.Contains(consumes(), "extra") })
		if answers, err := o.Drain(patient(t), node, "ops"); err != nil || inspect.Failed(answers) != nil {
			t.Errorf("%s: %+v, %v", node, answers, err)
		}
		if answers, err := o.Resume(patient(t), "extra"); err != nil || inspect.Failed(answers) != nil {
			t.Errorf("%s: %+v, %v", node, answers, err)
		}
		testkit.Eventually(t, 30*time.Second, node+" is drained", func() bool { return len(consumes()) == 0 })
		time.Sleep(2 * time.Second) // in which it would look at the pause
		if q := consumes(); len(q) > 0 {
			t.Errorf("%s is drained and consumes %q", node, q)
		}
		if answers, err := o.Fill(patient(t), node); err != nil || inspect.Failed(answers) != nil {
			t.Errorf("%s: %+v, %v", node, answers, err)
		}
		testkit.Eventually(t, 30*time.Second, node+" consumes all again", func() bool { return slices.Contains(consumes(), "extra") && len(consumes()) > 1 })
		answered(o.CancelConsumer(patient(t), "extra", node))

		// Refusals say what to do.
		for part, ask := range map[string]func() ([]inspect.Answer, error){
			"unknown task":            func() ([]inspect.Answer, error) { return o.RateLimit(patient(t), "no.task", "1/s", node) },
			"write a rate":            func() ([]inspect.Answer, error) { return o.RateLimit(patient(t), "shop.go", "often", node) },
			"with autoscaling (AUTO":  func() ([]inspect.Answer, error) { return o.Autoscale(patient(t), 4, 1, node) },
			"drain or stop the worke": func() ([]inspect.Answer, error) { return o.Shrink(patient(t), 2, "go@h") },
			"raise its bound":         func() ([]inspect.Answer, error) { return o.Grow(patient(t), 100, "go@h") },
		} {
			answers, err := ask()
			refused, ok := errors.AsType[*inspect.RefusedError](inspect.Failed(answers))
			if err != nil || !ok || !strings.Contains(refused.Error(), part) {
				t.Errorf("%s: %+v, %v, want %q", node, answers, err, part)
			}
		}
	}
	began := time.Now()
	some, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	answers, err := o.Grow(some, 1, "gone@h", "go@h")
	silent, ok := errors.AsType[*inspect.SilentError](inspect.Failed(answers))
	if err != nil || len(answers) != 2 || !ok || silent.Node != "gone@h" || time.Since(began) > 30*time.Second {
		t.Errorf("with a silent worker: %+v, %v", answers, err)
	}
	if _, err := o.Detail(t.Context(), "gone@h"); err == nil {
		t.Error("a silent worker has details")
	}
	if err := o.Shutdown(t.Context()); err == nil {
		t.Error("shutdown without names")
	}
	if answers, err := o.Revoke(patient(t), inspect.Revocation{IDs: []string{"some-id"}}); err != nil || inspect.Failed(answers) != nil || len(answers) != 2 {
		t.Errorf("revoke: %+v, %v", answers, err)
	}
	if revoked, err := o.Revoked(t.Context()); err != nil || !revoked["some-id"] {
		t.Errorf("revoked: %v, %v", revoked, err)
	}
	if err := o.Shutdown(t.Context(), "go@h", python); err != nil {
		t.Error(err)
	}
	testkit.Eventually(t, time.Minute, "no worker answers", func() bool {
		ws, err := o.Workers(t.Context())
		return err == nil && len(ws) == 0
	})
}

// A worker with limited remote control refuses, and a Python pool of a fixed size does.
func TestRefusals(t *testing.T) {
	server := testkit.StartRedis(t)
	o := inspect.NewOperator(openBroker(t, server.URL()))
	var ran atomic.Int64
	runQueues(t, server.URL(), "limited@h", worker.ControlHarmless, &ran, "go")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.py"), []byte(fmt.Sprintf(app, server.URL())), 0o644); err != nil {
		t.Fatal(err)
	}
	env := append(testkit.PythonEnv(), "PYTHONPATH="+dir)
	testkit.Start(t, "celery", env, testkit.Python(t, testkit.CeleryNew), "-m", "celery", "-A", "shop", "worker", "-n", "threads@h", "-P", "threads", "--without-mingle", "--without-gossip")
	testkit.Eventually(t, 60*time.Second, "both workers answer", func() bool {
		ws, err := o.Workers(t.Context())
		return err == nil && len(ws) == 2
	})
	answers, err := o.Grow(patient(t), 1)
	if err != nil || len(answers) != 2 {
		t.Fatalf("%+v, %v", answers, err)
	}
	for i, part := range []string{"REMOTE_CONTROL=full", "prefork"} {
		if err := answers[i].Err; err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%+v, want %q", answers[i], part)
		}
	}
}
