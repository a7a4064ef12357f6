package redis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// BenchmarkSetAside settles a delivery as a dead letter.
func BenchmarkSetAside(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		for _, mode := range []string{"clear", "encrypted"} {
			b.Run(fmt.Sprintf("%s/%dKiB", mode, size>>10), func(b *testing.B) {
				s := redistest.Start(b)
				c := s.Conn(0)
				cfg := redis.Config{URL: s.URL(0), Logger: quiet(), DeadLettersMax: 100}
				if mode == "encrypted" {
					cfg.Sealer = box(b, firstSecret)
				}
				br := must(redis.New(cfg))(b)
				b.Cleanup(func() { br.Close() })
				if err := br.Consume(broker.Session{Node: "w@test", Queues: []string{"q"}}); err != nil {
					b.Fatal(err)
				}
				_, raw := letterRaw(b, func(m *protocol.Message) { m.Args = protocol.Raw(`["` + strings.Repeat("x", size) + `"]`) })
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					if _, err := c.Do("LPUSH", "q", raw); err != nil {
						b.Fatal(err)
					}
					ds := must(br.Claim(b.Context(), 1))(b)
					b.StartTimer()
					if _, err := br.Settle(b.Context(), broker.Settlement{Delivery: ds[0], DeadLetter: "why"}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRetryMany puts dead letters back into their queue.
func BenchmarkRetryMany(b *testing.B) {
	for _, mode := range []string{"many", "one by one"} {
		b.Run(mode, func(b *testing.B) {
			s := redistest.Start(b)
			c := s.Conn(0)
			letters := openLetters(b, redis.Config{URL: s.URL(0)})
			const all = 1000
			var ids []string
			_, raw := letterRaw(b, nil)
			for i := range all {
				ids = append(ids, fmt.Sprintf("id%04d", i))
			}
			for b.Loop() {
				b.StopTimer()
				if _, err := c.Do("DEL", "q"); err != nil {
					b.Fatal(err)
				}
				for _, id := range ids {
					for _, cmd := range [][]any{{"HSET", "_goworker.1.dead", id, raw}, {"HSET", "_goworker.1.dead.meta", id, `{"queue":"q"}`}, {"ZADD", "_goworker.1.dead.index", now(), id}} {
						if _, err := c.Do(cmd[0].(string), cmd[1:]...); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.StartTimer()
				if mode == "many" {
					for _, err := range letters.RetryMany(b.Context(), ids, "", "") {
						if err != nil {
							b.Fatal(err)
						}
					}
					continue
				}
				for _, id := range ids {
					if err := letters.Retry(b.Context(), id); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
