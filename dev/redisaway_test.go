package dev

import (
	"errors"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A command that waits is answered after the embedded Redis was away, too.
func TestWaitAfterRedisWasAway(t *testing.T) {
	m, err := startRedis(-1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	c := newChaos(m, time.Now)
	for _, away := range []bool{true, false} {
		if err := c.setRedis(away); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := redis.Dial("tcp", m.Addr(), redis.DialReadTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := redis.Values(conn.Do("BRPOP", "empty", 1)); !errors.Is(err, redis.ErrNil) {
		t.Errorf("a wait for an empty list ends with %v", err)
	}
}
