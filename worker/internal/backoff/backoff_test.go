package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/worker/internal/backoff"
)

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff.Backoff
		wait := func() time.Duration {
			began := time.Now()
			if !b.Wait(t.Context()) {
				t.Fatal("Wait ended early")
			}
			return time.Since(began)
		}
		for _, most := range []time.Duration{20, 40, 80, 160, 320, 640, 1000, 1000} {
			most *= time.Millisecond
			if got := wait(); got < most/2 || got > most {
				t.Errorf("waited %v, want between half of %v and that", got, most)
			}
		}
		if !b.Failed() {
			t.Error("Failed is false after failures")
		}
		b.Reset()
		if got := wait(); got > 20*time.Millisecond {
			t.Errorf("waited %v after Reset", got)
		}
	})
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff.Backoff
		for _, tc := range []struct {
			after time.Duration
			want  bool
		}{{0, true}, {time.Second, false}, {10 * time.Second, true}, {0, false}} {
			time.Sleep(tc.after)
			if got := b.Report(); got != tc.want {
				t.Errorf("Report after %v = %v", tc.after, got)
			}
		}
	})
}

func TestSleepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := backoff.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("Sleep = %v after %v", err, time.Since(began))
		}
		var b backoff.Backoff
		if b.Wait(ctx) {
			t.Error("Wait of an ended context reports life")
		}
	})
}
