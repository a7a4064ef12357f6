package worker_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/workertest"
)

// takes is a handler with arguments of type A and a result of type R.
func takes[A, R any]() worker.Handler {
	return worker.Func(func(context.Context, A) (r R, err error) { return r, nil })
}

type hidden struct{ UserID int }

type handlerStruct struct{}

func (*handlerStruct) Run(context.Context, *worker.Task) (any, error) { return nil, nil }

// TestNewChecksHandlers: what no arguments fit is refused when the worker is made, with
// the task, the field and what to write instead.
func TestNewChecksHandlers(t *testing.T) {
	for name, tc := range map[string]struct {
		h    worker.Handler
		want []string // nil: New takes it
	}{
		"struct":  {takes[struct{ X int }, any](), nil},
		"nothing": {takes[struct{}, struct{}](), nil},
		"many types": {takes[struct {
			A any
			B *time.Time
			C map[string][]float64
			D struct{ X, Y *int }
			E protocol.Raw
			F [2]bool `celery:"f,optional"`
			g chan int
			H func() `celery:"-"`
			_ int
		}, *worker.AsyncResult](), nil},
		"handler":             {worker.HandlerFunc(func(context.Context, *worker.Task) (any, error) { return nil, nil }), nil},
		"no handler":          {nil, []string{"has no Handler", "worker.Func"}},
		"nil function":        {worker.HandlerFunc(nil), []string{"has no Handler"}},
		"nil typed function":  {worker.Func[struct{}, any](nil), []string{"has no Handler"}},
		"nil pointer":         {(*handlerStruct)(nil), []string{"has no Handler"}},
		"string":              {takes[string, any](), []string{"Handler: argument type string is not a struct", "struct{ Value string }"}},
		"number":              {takes[int, any](), []string{"argument type int is not a struct"}},
		"map":                 {takes[map[string]any, any](), []string{"argument type map[string]interface {} is not a struct"}},
		"list":                {takes[[]string, any](), []string{"argument type []string is not a struct"}},
		"anything":            {takes[any, any](), []string{"argument type interface {} is not a struct"}},
		"pointer":             {takes[*hidden, any](), []string{"argument type *worker_test.hidden is a pointer: take worker_test.hidden"}},
		"pointer to a string": {takes[*string, any](), []string{"argument type *string is not a struct"}},
		"two of one name": {takes[struct {
			A int `celery:"x"`
			B int `celery:"x"`
		}, any](), []string{`field B: its name is "x", as that of field A`}},
		"two of one small name": {takes[struct{ AB, Ab int }, any](), []string{`field Ab: its name is "ab", as that of field AB`}},
		"tag and name": {takes[struct {
			X int
			Y int `celery:"x,optional"`
		}, any](), []string{`field Y: its name is "x", as that of field X`}},
		"tag on a hidden field": {takes[struct {
			X      int
			userID int `celery:"user_id"`
		}, any](), []string{"field userID", "not exported", "capital letter"}},
		"hidden fields alone":    {takes[struct{ userID int }, any](), []string{"no exported fields"}},
		"a type of another sort": {takes[time.Time, any](), []string{"argument type time.Time has no exported fields"}},
		"hidden embedded": {takes[struct {
			hidden
			X int
		}, any](), []string{"field hidden: the fields of an embedded struct are no parameters"}},
		"unknown option": {takes[struct {
			X int `celery:"x,omitempty"`
		}, any](), []string{`field X: tag option "omitempty" is not known`}},
		"space in the name": {takes[struct {
			X int `celery:"user id"`
		}, any](), []string{`field X: its name "user id" has a space`}},
		"channel":     {takes[struct{ X chan int }, any](), []string{"field X: chan int has no form in JSON", "`celery:\"-\"`"}},
		"function":    {takes[struct{ X func() }, any](), []string{"field X: func() has no form in JSON"}},
		"complex":     {takes[struct{ X []complex64 }, any](), []string{"field X: []: complex64 has no form in JSON"}},
		"context":     {takes[struct{ X context.Context }, any](), []string{"field X: context.Context is an interface with methods"}},
		"error":       {takes[struct{ X error }, any](), []string{"field X: error is an interface with methods"}},
		"deep":        {takes[struct{ X struct{ Y map[string]func() } }, any](), []string{"field X: Y.*: func() has no form in JSON", "`json:\"-\"`"}},
		"key":         {takes[struct{ X map[float64]int }, any](), []string{"field X: *: float64 cannot be the key of an object"}},
		"result":      {takes[struct{}, chan int](), []string{"result type: chan int has no form in JSON"}},
		"deep result": {takes[struct{}, *struct{ X struct{ F func() } }](), []string{"result type: X.F: func() has no form in JSON"}},
		"all faults at once": {takes[struct {
			A chan int
			B func()
			b int `celery:"c"`
		}, func()](), []string{"field A", "field B", "field b", "result type"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := worker.New(worker.Config{Broker: workertest.NewBroker(), Tasks: map[string]worker.Definition{"mail.send": {Handler: tc.h}}})
			checkFaults(t, err, tc.want, `Tasks["mail.send"]`)
		})
	}
}

// checkFaults wants an error with all these words, or none.
func checkFaults(t *testing.T, err error, want []string, more ...string) {
	t.Helper()
	if len(want) == 0 {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	for _, w := range append(want, more...) {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error is %v, want %q in it", err, w)
		}
	}
}

// TestNewChecksConfig: nothing that is wrong is replaced by a default.
func TestNewChecksConfig(t *testing.T) {
	type change = func(*worker.Config, *worker.Definition)
	for want, change := range map[string]change{
		"Broker is missing":          func(c *worker.Config, _ *worker.Definition) { c.Broker = (*redis.Broker)(nil) },
		"Tasks is empty":             func(c *worker.Config, _ *worker.Definition) { c.Tasks = nil },
		`Queues has the name "a\nb"`: func(c *worker.Config, _ *worker.Definition) { c.Queues = []string{"a\nb"} },
		`Queues names "a" twice`:     func(c *worker.Config, _ *worker.Definition) { c.Queues = []string{"a", "a"} },
		"Concurrency is -1":          func(c *worker.Config, _ *worker.Definition) { c.Concurrency = -1 },
		"ETATaskLimit is -1":         func(c *worker.Config, _ *worker.Definition) { c.ETATaskLimit = -1 },
		"MaxRedeliveries is -1":      func(c *worker.Config, _ *worker.Definition) { c.MaxRedeliveries = -1 },
		"MaxTasks is -1":             func(c *worker.Config, _ *worker.Definition) { c.MaxTasks = -1 },
		"MaxMemory is -1":            func(c *worker.Config, _ *worker.Definition) { c.MaxMemory = -1 },
		"Limits.Size is -1":          func(c *worker.Config, _ *worker.Definition) { c.Limits.Size = -1 },
		"Limits.Depth is -1":         func(c *worker.Config, _ *worker.Definition) { c.Limits.Depth = -1 },
		"Limits.Elements is -1":      func(c *worker.Config, _ *worker.Definition) { c.Limits.Elements = -1 },
		"TaskTimeLimit is -1s":       func(c *worker.Config, _ *worker.Definition) { c.TaskTimeLimit = -time.Second },
		"TaskSoftTimeLimit is -1s":   func(c *worker.Config, _ *worker.Definition) { c.TaskSoftTimeLimit = -time.Second },
		"Grace is -1s":               func(c *worker.Config, _ *worker.Definition) { c.Grace = -time.Second },
		"TaskSoftTimeLimit 1m0s is above": func(c *worker.Config, _ *worker.Definition) {
			c.TaskTimeLimit, c.TaskSoftTimeLimit = time.Second, time.Minute
		},
		`Name is "a worker@h"`:                  func(c *worker.Config, _ *worker.Definition) { c.Name = "a worker@h" },
		"UnknownTasks is 3":                     func(c *worker.Config, _ *worker.Definition) { c.UnknownTasks = 3 },
		"UnknownTasks is -1":                    func(c *worker.Config, _ *worker.Definition) { c.UnknownTasks = -1 },
		"Control is 9":                          func(c *worker.Config, _ *worker.Definition) { c.Control = 9 },
		"Accept: ":                              func(c *worker.Config, _ *worker.Definition) { c.Accept = []string{"pickle"} },
		"Autoscale is from 0 to 2":              func(c *worker.Config, _ *worker.Definition) { c.Autoscale.Max = 2 },
		"Middleware[1] is nil":                  func(c *worker.Config, _ *worker.Definition) { c.Middleware = []worker.Middleware{same, nil} },
		"Middleware[0] returns no Handler":      func(c *worker.Config, _ *worker.Definition) { c.Middleware = []worker.Middleware{forgets, same} },
		`Redact[0] is ""`:                       func(c *worker.Config, _ *worker.Definition) { c.Redact = []string{""} },
		`DefaultQueue is "a\x00"`:               func(c *worker.Config, _ *worker.Definition) { c.DefaultQueue = "a\x00" },
		`route of "t" has the queue "a\n"`:      func(c *worker.Config, _ *worker.Definition) { c.Routes = []worker.Route{{Task: "t", Queue: "a\n"}} },
		"a route has the pattern":               func(c *worker.Config, _ *worker.Definition) { c.Routes = []worker.Route{{Queue: "q"}} },
		"the encoding: ":                        func(c *worker.Config, _ *worker.Definition) { c.Encoding.Serializer = "pickle" },
		"CanvasLimits has a negative number":    func(c *worker.Config, _ *worker.Definition) { c.CanvasLimits = canvas.Limits{Depth: -1} },
		`Tasks["t"].RateLimit: `:                func(_ *worker.Config, d *worker.Definition) { d.RateLimit = "often" },
		`Tasks["t"].MaxRetries is -3`:           func(_ *worker.Config, d *worker.Definition) { d.MaxRetries = -3 },
		`Tasks["t"].Backoff has a negative`:     func(_ *worker.Config, d *worker.Definition) { d.Backoff.Base = -1 },
		`Tasks["t"].Backoff.Jitter is 1.5`:      func(_ *worker.Config, d *worker.Definition) { d.Backoff.Jitter = 1.5 },
		`Tasks["t"].Backoff.Jitter is NaN`:      func(_ *worker.Config, d *worker.Definition) { d.Backoff.Jitter = math.NaN() },
		`Tasks["t"] has a negative time limit`:  func(_ *worker.Config, d *worker.Definition) { d.SoftTimeLimit = -1 },
		`SoftTimeLimit 1m0s is above TimeLimit`: func(_ *worker.Config, d *worker.Definition) { d.TimeLimit, d.SoftTimeLimit = time.Second, time.Minute },
		`SoftTimeLimit 1m0s is above TaskTimeLi`: func(c *worker.Config, d *worker.Definition) {
			c.TaskTimeLimit, d.SoftTimeLimit = time.Second, time.Minute
		},
	} {
		t.Run(want, func(t *testing.T) {
			d := worker.Definition{Handler: takes[struct{}, any]()}
			c := worker.Config{Broker: workertest.NewBroker()}
			change(&c, &d)
			if c.Tasks = map[string]worker.Definition{"t": d}; want == "Tasks is empty" {
				c.Tasks = nil
			}
			_, err := worker.New(c)
			checkFaults(t, err, []string{want})
		})
	}
}

func same(h worker.Handler) worker.Handler { return h }

func forgets(worker.Handler) worker.Handler { return nil }

// TestFaultsOfAllTasks: they are reported together, and in the same order each time.
func TestFaultsOfAllTasks(t *testing.T) {
	tasks := map[string]worker.Definition{}
	var want []string
	for i := range 9 {
		name := fmt.Sprintf("t%d", i)
		tasks[name] = worker.Definition{Handler: takes[string, any]()}
		want = append(want, fmt.Sprintf("Tasks[%q].Handler", name))
	}
	for range 3 {
		_, err := worker.New(worker.Config{Tasks: tasks, Concurrency: -1})
		checkFaults(t, err, want, "Broker is missing", "Concurrency is -1")
		at := 0
		for _, w := range want {
			next := strings.Index(err.Error(), w)
			if next < at {
				t.Fatalf("the faults are in disorder: %v", err)
			}
			at = next
		}
	}
}
