package main

import (
	"context"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// plainTasks take arguments and return a value.
func plainTasks() map[string]worker.Definition {
	add := worker.Func(func(_ context.Context, in addArgs) (any, error) {
		if truthy(in.Z) {
			sum, err := plus(in.X, in.Y)
			if err != nil {
				return nil, err
			}
			return plus(sum, in.Z)
		}
		return plus(in.X, in.Y)
	})
	sum := worker.Func(func(_ context.Context, in struct{ Nums []any }) (any, error) { return total(in.Nums) })
	pydantic := worker.Func(func(_ context.Context, in struct{ Data struct{ X, Y int } }) (map[string]int, error) {
		return map[string]int{"result": in.Data.X + in.Data.Y}, nil
	})
	two := worker.Func(func(_ context.Context, in struct{ X, Y any }) (any, error) { return plus(in.X, in.Y) })
	return map[string]worker.Definition{
		"identity":                        {Handler: worker.Func(func(_ context.Context, in struct{ X any }) (any, error) { return in.X, nil })},
		"add":                             {Handler: add},
		"mul":                             {Handler: worker.Func(func(_ context.Context, in struct{ X, Y int }) (int, error) { return in.X * in.Y, nil })},
		"add_not_typed":                   {Handler: two},
		"add_ignore_result":               {Handler: two, IgnoreResult: true},
		"add_with_result":                 {Handler: two},
		"add_pydantic":                    {Handler: pydantic},
		"add_pydantic_string_annotations": {Handler: pydantic},
		"tsum":                            {Handler: sum},
		"xsum":                            {Handler: worker.Func(xsum)},
		"delayed_sum":                     {Handler: worker.Func(delayedSum)},
		"delayed_sum_with_soft_guard":     {Handler: worker.Func(guardedSum)},
		"sleeping":                        {Handler: worker.HandlerFunc(sleeping)},
		"print_unicode":                   {Handler: worker.Func(printUnicode)},
		"write_to_file_and_return_int":    {Handler: worker.Func(writeToFile)},
		"replaced_with_me":                {Handler: worker.Func(func(context.Context, struct{}) (bool, error) { return true, nil })},
	}
}

type addArgs struct {
	X any
	Y any
	Z any `celery:"z,optional"`
}

// truthy reports whether Python takes a number, text or list as true.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	}
	return true
}

// plus does what Python's operator + does: it adds numbers and joins texts and lists.
func plus(x, y any) (any, error) {
	switch x := x.(type) {
	case string:
		if y, ok := y.(string); ok {
			return x + y, nil
		}
	case []any:
		if y, ok := y.([]any); ok {
			return append(append([]any{}, x...), y...), nil
		}
	default:
		a, aOK := number(x)
		b, bOK := number(y)
		if aOK && bOK {
			return add(a, b), nil
		}
	}
	return nil, worker.TypeError("unsupported operand type(s) for +")
}

// number returns an integer or a float64.
func number(v any) (any, bool) {
	switch v := v.(type) {
	case int64:
		return big.NewInt(v), true
	case *big.Int:
		return v, true
	case float64:
		return v, true
	case bool:
		if v {
			return big.NewInt(1), true
		}
		return big.NewInt(0), true
	}
	return nil, false
}

func add(a, b any) any {
	x, xInt := a.(*big.Int)
	y, yInt := b.(*big.Int)
	if xInt && yInt {
		return new(big.Int).Add(x, y)
	}
	return float(a) + float(b)
}

func float(v any) float64 {
	if n, ok := v.(*big.Int); ok {
		f, _ := new(big.Float).SetInt(n).Float64()
		return f
	}
	return v.(float64)
}

func total(nums []any) (any, error) {
	var sum any = int64(0)
	for _, n := range nums {
		var err error
		if sum, err = plus(sum, n); err != nil {
			return nil, err
		}
		if n, ok := sum.(*big.Int); ok && n.IsInt64() {
			sum = n.Int64()
		}
	}
	return sum, nil
}

func xsum(_ context.Context, in struct{ Nums []any }) (any, error) {
	flat := make([]any, len(in.Nums))
	for i, n := range in.Nums {
		flat[i] = n
		if list, ok := n.([]any); ok {
			var err error
			if flat[i], err = total(list); err != nil {
				return nil, err
			}
		}
	}
	return total(flat)
}

type delayedArgs struct {
	Numbers []any
	Pause   *float64 `celery:"pause_time,optional"`
}

func (a delayedArgs) pause(ctx context.Context) error {
	pause := 1.0
	if a.Pause != nil {
		pause = *a.Pause
	}
	return sleep(ctx, pause)
}

func sleep(ctx context.Context, seconds float64) error {
	t := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

func delayedSum(ctx context.Context, in delayedArgs) (any, error) {
	if err := in.pause(ctx); err != nil {
		return nil, err
	}
	return total(in.Numbers)
}

// guardedSum returns 0 at its soft time limit.
func guardedSum(ctx context.Context, in delayedArgs) (any, error) {
	if err := in.pause(ctx); err == worker.ErrSoftTimeLimit {
		return 0, nil
	} else if err != nil {
		return nil, err
	}
	return total(in.Numbers)
}

// sleeping takes any keyword beside its first argument.
func sleeping(ctx context.Context, t *worker.Task) (any, error) {
	args, err := t.Message.Args.Elements()
	if err != nil || len(args) != 1 {
		return nil, worker.TypeError("sleeping() takes 1 positional argument")
	}
	var seconds float64
	if err := protocol.Unmarshal(args[0], &seconds); err != nil {
		return nil, worker.TypeError("sleeping() argument 'i' is not a number")
	}
	return nil, sleep(ctx, seconds)
}

// printUnicode is linked as an error callback as well, and then gets an id.
func printUnicode(ctx context.Context, in struct {
	Log   *string `celery:"log_message,optional"`
	Print *string `celery:"print_message,optional"`
}) (any, error) {
	text := func(s *string, otherwise string) string {
		if s == nil {
			return otherwise
		}
		return *s
	}
	if t, ok := worker.TaskFrom(ctx); ok {
		t.Logger.Warn(text(in.Log, "håå®ƒ valmuefrø"))
	}
	fmt.Println(text(in.Print, "hiöäüß"))
	return nil, nil
}

func writeToFile(_ context.Context, in struct {
	File string `celery:"file_name"`
	I    any    `celery:"i"`
}) (any, error) {
	f, err := os.OpenFile(in.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(f, in.I); err != nil {
		f.Close()
		return nil, err
	}
	return in.I, f.Close()
}
