package batch_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker/internal/batch"
)

// Entries that come while a round trip is in progress go with the next one, in their order.
func TestEntriesGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes, order []int
		hold := make(chan struct{})
		b := batch.New(batch.Config[int]{
			Expects: func() bool { return false },
			Send: func(es []int) {
				<-hold
				sizes, order = append(sizes, len(es)), append(order, es...)
			},
		})
		b.Add(0)
		synctest.Wait() // the first round trip is in progress
		for i := range 10 {
			b.Add(i + 1)
		}
		synctest.Wait()
		close(hold)
		b.Wait()
		if len(sizes) != 2 || sizes[0] != 1 || sizes[1] != 10 {
			t.Errorf("round trips of %v, want 1 and 10", sizes)
		}
		for i, got := range order {
			if got != i {
				t.Fatalf("sent %v, want them in their order", order)
			}
		}
	})
}

// A round trip waits for expected entries, but not for long.
func TestRoundTripWaitsForExpected(t *testing.T) {
	for name, tc := range map[string]struct {
		comes time.Duration // after the first; 0: never
		want  int           // entries of the first round trip
	}{
		"in time":  {100 * time.Microsecond, 2},
		"too late": {time.Millisecond, 1},
		"never":    {0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var expected atomic.Bool
				expected.Store(true)
				var sizes []int
				b := batch.New(batch.Config[int]{
					Expects: expected.Load,
					Send:    func(es []int) { sizes = append(sizes, len(es)) },
				})
				b.Add(0)
				if tc.comes > 0 {
					time.Sleep(tc.comes)
					expected.Store(false)
					b.Add(1)
				}
				b.Wait()
				if sizes[0] != tc.want {
					t.Errorf("round trips of %v, want %d first", sizes, tc.want)
				}
			})
		})
	}
}

// A round trip waits until a claim is ready to go along with it, and the next one until
// the claim is done.
func TestClaimGoesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []time.Time
		b := batch.New(batch.Config[int]{
			Expects: func() bool { return false },
			Send:    func([]int) { sent = append(sent, time.Now()) },
		})
		began := time.Now()
		if waiting := b.ClaimComes(1); waiting != 0 {
			t.Errorf("%d entries wait", waiting)
		}
		b.Add(0)
		time.Sleep(200 * time.Microsecond)
		b.ClaimReady()
		// The claim is ready and nothing else is expected: nothing has to be waited for.
		synctest.Wait()
		if len(sent) != 1 || sent[0].Sub(began) != 200*time.Microsecond {
			t.Fatalf("sent at %v", sent)
		}
		b.Add(1)
		time.Sleep(300 * time.Microsecond)
		b.ClaimDone()
		b.Wait()
		if len(sent) != 2 || sent[1].Sub(began) != 500*time.Microsecond {
			t.Errorf("sent at %v", sent)
		}
	})
}
