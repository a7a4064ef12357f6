package redis_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"
	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
	"github.com/evently/workers/worker/workertest"
)

// fixture is the view of a redis-cli on what the broker did.
func fixture(t *testing.T, c redigo.Conn, cfg redis.Config) workertest.Fixture {
	t.Helper()
	cfg.Logger = quiet()
	b, err := redis.New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { b.Close() })
	key := func(queue string, step int) string {
		if step == 0 {
			return cfg.KeyPrefix + queue
		}
		return fmt.Sprintf("%s%s\x06\x16%d", cfg.KeyPrefix, queue, step)
	}
	return workertest.Fixture{
		Broker: b,
		Push: func(queue string, priority int, raw []byte) {
			if _, err := c.Do("LPUSH", key(queue, priority/3*3), raw); err != nil {
				t.Errorf("push: %v", err)
			}
		},
		Queued: func(queue string) (raws [][]byte) {
			for _, step := range []int{0, 3, 6, 9} {
				l, err := redigo.ByteSlices(c.Do("LRANGE", key(queue, step), 0, -1))
				if err != nil {
					t.Errorf("read queue: %v", err)
				}
				for i := range l {
					raws = append(raws, l[len(l)-1-i])
				}
			}
			return raws
		},
		Stored: func(id string) string {
			if s := result(t, c, id); s.Status != "PENDING" {
				return s.Status
			}
			return ""
		},
		DeadLetters: func() (reasons []string) {
			letters, _, err := b.Letters().List(context.Background(), 0, 100)
			if err != nil {
				t.Errorf("DeadLetters: %v", err)
			}
			for _, l := range letters {
				reasons = append(reasons, l.Reason)
			}
			return reasons
		},
		Unacked: func() int {
			n, err := redigo.Int(c.Do("HLEN", cfg.KeyPrefix+"unacked"))
			m, err2 := redigo.Int(c.Do("ZCARD", cfg.KeyPrefix+"unacked_index"))
			if err := errors.Join(err, err2); err != nil || n != m {
				t.Errorf("unacked has %d entries and its index %d: %v", n, m, err)
			}
			return n
		},
	}
}

func TestBroker(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	db := 0
	fresh := func(prefix string) func(t *testing.T) workertest.Fixture {
		return func(t *testing.T) workertest.Fixture {
			c := s.Conn(db)
			if _, err := c.Do("FLUSHALL"); err != nil {
				t.Fatalf("empty the database: %v", err)
			}
			return fixture(t, c, redis.Config{URL: s.URL(db), KeyPrefix: prefix})
		}
	}
	workertest.TestBroker(t, fresh(""))
	db = 3
	t.Run("Prefix", func(t *testing.T) { workertest.TestBroker(t, fresh("acme:")) })
}

// The embedded server of the dev command must do as well.
func TestBrokerOnMiniredis(t *testing.T) {
	t.Parallel()
	workertest.TestBroker(t, func(t *testing.T) workertest.Fixture {
		s := miniredis.RunT(t)
		s.ClockTTL(true)
		c, err := redigo.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		t.Cleanup(func() { c.Close() })
		return fixture(t, c, redis.Config{URL: "redis://" + s.Addr()})
	})
}
