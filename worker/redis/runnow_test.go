package redis_test

import (
	"errors"
	"testing"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/redistest"
)

// A claim that no worker holds is not said to be held by a Python worker, even if its form is not ours.
func TestRunNowOfAnUnknownClaim(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	const python = "0b5bd9f7-6a5c-4d4e-9d0a-0d7d1f0f6a11"
	do(t, c, "HSET", "unacked", python, `[{"body": "W10="}, "", "q"]`)
	queues := backend(t, s).Queues()
	for claim, want := range map[string]error{
		python: broker.ErrHeldByPython, "": broker.ErrNotHeld, "no claim": broker.ErrNotHeld, python[:35] + "2": broker.ErrNotHeld,
	} {
		if err := queues.RunNow(t.Context(), claim); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", claim, err, want)
		}
	}
}
