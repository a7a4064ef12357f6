package workertest_test

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/workertest"
)

// The suite calls every method of the interfaces that a Broker may implement.
func TestSuiteIsComplete(t *testing.T) {
	files, err := filepath.Glob("suite*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	interfaces := []reflect.Type{reflect.TypeFor[broker.Broker]()}
	for f := range reflect.TypeFor[broker.Capabilities]().Fields() {
		interfaces = append(interfaces, f.Type)
	}
	for _, i := range interfaces {
		for m := range i.Methods() {
			used := regexp.MustCompile(`f\.(Broker|can\.[A-Z][A-Za-z]*)\.` + m.Name + `\b`)
			if !used.MatchString(source.String()) {
				t.Errorf("no test of the suite calls %s.%s", i.Name(), m.Name)
			}
		}
	}
}

// core hides all optional interfaces of a Broker.
type core struct{ broker.Broker }

// A Broker with the core alone passes the suite, and runs tasks.
func TestCoreAlone(t *testing.T) {
	workertest.TestBroker(t, func(t *testing.T) workertest.Fixture {
		f := inMemory()
		f.Broker = core{f.Broker}
		return f
	})

	b := workertest.NewBroker()
	w, err := worker.New(worker.Config{
		Broker: core{b},
		Queues: []string{"q"},
		Tasks: map[string]worker.Definition{"double": {Handler: worker.Func(func(_ context.Context, a struct{ N int }) (int, error) {
			return 2 * a.N, nil
		})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	client, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{DefaultQueue: "q"}})
	if err != nil {
		t.Fatal(err)
	}
	handle, err := client.Send(ctx, canvas.New("double", 21))
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if err := handle.Get(ctx, &got); err != nil || got != 42 {
		t.Errorf("result %d, %v, want 42", got, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}
