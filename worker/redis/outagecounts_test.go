package redis_test

import (
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
)

// The number of dead letters is not known while Redis does not answer. Here it comes back with
// other data.
func TestLetterCountsInAnOutage(t *testing.T) {
	server := testkit.StartRedis(t)
	c := server.Pool.Get()
	oldLetter(t, c, "0dd0dd0dd0dd", now(), "x")
	c.Close()
	b, err := redis.New(redis.Config{URL: server.URL(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(worker.Config{Broker: b, Queues: []string{"q"}, Tasks: nothing(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	untilEnd(t, w)
	counted := func(open int) func() bool {
		return func() bool {
			counts, at, known := b.LetterCounts()
			return known && counts.Open == open && time.Since(at) < 2*time.Minute
		}
	}
	eventually(t, "a dead letter is counted", counted(1))
	server.Proc.Kill()
	eventually(t, "the number is not known", func() bool {
		counts, at, known := b.LetterCounts()
		return !known && counts.Open == 1 && !at.IsZero()
	})
	server.Start()
	eventually(t, "there is none", counted(0))
}
