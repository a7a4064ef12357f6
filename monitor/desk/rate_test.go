package desk_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/monitor/desk"
)

func TestRate(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"50/s": 20 * time.Millisecond, "50": 20 * time.Millisecond, "600/m": 100 * time.Millisecond, " 3600 / h ": time.Second, "0": 0, "0.5/s": 2 * time.Second,
	} {
		var r desk.Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r.Every() != want {
			t.Errorf("%q: %v, %v, want %v", text, r.Every(), err, want)
		}
	}
	for _, text := range []string{"", "x", "50/d", "-1/s", "1e9", "NaN", "50//s", "/s"} {
		var r desk.Rate
		if err := r.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "50/s") {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, began := desk.NewPacer(desk.Rate{N: 50, Per: time.Second}), time.Now()
		for range 101 {
			if err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("101 actions took %v", took)
		}
		time.Sleep(time.Minute) // it is not caught up for
		began = time.Now()
		for range 150 {
			_ = p.Wait(t.Context())
		}
		if took := time.Since(began); took < 1900*time.Millisecond {
			t.Errorf("150 actions after a pause took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Wait(ctx); err == nil {
			t.Error("no error after the end")
		}
	})
}
