package batch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/worker/internal/batch"
)

// Many goroutines call at once, some give up, and round trips fail. Every call is sent
// once, or not at all where its caller gave up. Each caller gets its own reply. At most two
// round trips are in progress, none beyond its bytes.
func TestCaller(t *testing.T) {
	const callers, calls = 40, 200
	var away, most atomic.Int64
	var sent sync.Map
	fault := errors.New("refused")
	c := batch.NewCaller(batch.CallConfig[int, string]{
		Size: func(int) int { return 8 << 10 }, // 32 of them fill a round trip
		Call: func(requests []int) ([]string, error) {
			n := away.Add(1)
			defer away.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			if len(requests) == 0 || len(requests) > 32 {
				t.Errorf("a round trip of %d calls", len(requests))
			}
			time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) // a server takes its time
			replies := make([]string, len(requests))
			for i, r := range requests {
				if _, twice := sent.LoadOrStore(r, true); twice {
					t.Errorf("call %d is sent twice", r)
				}
				replies[i] = fmt.Sprint(r)
			}
			if rand.IntN(10) == 0 {
				return nil, fault
			}
			return replies, nil
		},
	})
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
				reply, err := c.Do(ctx, call)
				cancel()
				switch {
				case err == nil && reply == fmt.Sprint(call), errors.Is(err, fault), impatient && errors.Is(err, context.Canceled):
				default:
					t.Errorf("call %d: %q, %v", call, reply, err)
				}
				if _, ok := sent.Load(call); !ok && !impatient {
					t.Errorf("call %d is not sent", call)
				}
			}
		})
	}
	all.Wait()
	if n := most.Load(); n > 2 {
		t.Errorf("%d round trips at once, want 2 at most", n)
	}
}
