package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Many call at once, some give up, and round trips fail: every call is carried once, or
// not at all where its caller gave up, each gets its own answer, and never are more than
// two round trips under way.
func TestCompany(t *testing.T) {
	const callers, calls = 40, 200
	var away, most atomic.Int64
	var carried sync.Map
	fault := errors.New("refused")
	q := company[int, string]{size: func(int) int { return togetherBytes / 32 }}
	q.carry = func(cs []int) ([]string, error) {
		n := away.Add(1)
		defer away.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if len(cs) == 0 || len(cs) > 32 {
			t.Errorf("a round trip of %d calls", len(cs))
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) // a server takes its time
		answers := make([]string, len(cs))
		for i, c := range cs {
			if _, twice := carried.LoadOrStore(c, true); twice {
				t.Errorf("call %d is carried twice", c)
			}
			answers[i] = fmt.Sprint(c)
		}
		if rand.IntN(10) == 0 {
			return nil, fault
		}
		return answers, nil
	}
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for j := range calls {
				call := i*calls + j
				ctx, cancel := context.WithCancel(t.Context())
				impatient := rand.IntN(3) == 0
				if impatient {
					time.AfterFunc(time.Duration(rand.IntN(500))*time.Microsecond, cancel)
				}
				answer, err := q.do(ctx, call)
				cancel()
				switch {
				case err == nil && answer == fmt.Sprint(call), errors.Is(err, fault), impatient && errors.Is(err, context.Canceled):
				default:
					t.Errorf("call %d: %q, %v", call, answer, err)
				}
				if _, ok := carried.Load(call); !ok && !impatient {
					t.Errorf("call %d is not carried", call)
				}
			}
		})
	}
	all.Wait()
	if n := most.Load(); n > 2 {
		t.Errorf("%d round trips at once, want 2 at most", n)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.away != 0 || q.promoted || len(q.waiting) > 0 {
		t.Errorf("in the end %d are away, %d wait, promoted: %t", q.away, len(q.waiting), q.promoted)
	}
}

// A round trip that panics takes nobody with it but its leader.
func TestCompanyPanic(t *testing.T) {
	begun, on := make(chan struct{}, 1), make(chan struct{})
	q := company[int, int]{size: func(int) int { return 1 }}
	q.carry = func(cs []int) ([]int, error) {
		if cs[0] == 0 {
			begun <- struct{}{}
			<-on
		}
		if len(cs) > 1 {
			panic("a fault of ours")
		}
		return cs, nil
	}
	do := func(call int) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v", v)
			}
		}()
		_, err = q.do(t.Context(), call)
		return err
	}
	errs := make(chan error, 3)
	go func() { errs <- do(0) }()
	<-begun
	for i := range 2 {
		go func() { errs <- do(i + 1) }()
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		n := len(q.waiting)
		q.mu.Unlock()
		if n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("they do not wait")
		}
	}
	close(on)
	var panics, told int
	for range 3 {
		switch err := <-errs; {
		case err == nil:
		case errors.Is(err, errCarry):
			told++
		default:
			panics++
		}
	}
	if panics != 1 || told != 1 {
		t.Errorf("%d panics and %d errors, want one of each", panics, told)
	}
	if err := do(3); err != nil {
		t.Errorf("the next call: %v", err)
	}
}
