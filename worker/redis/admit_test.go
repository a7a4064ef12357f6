package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// Many workers ask at the same time: each token is taken once, and no reservation twice.
func TestAdmitIsExactForManyWorkers(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	const workers, each, burst, reserved = 8, 25, 40, 20
	limits := []broker.Limit{
		{Name: "all", Every: time.Hour, Burst: burst, Reserve: reserved*time.Hour + time.Minute},
		{Name: "wide", Every: time.Minute, Burst: workers * each},
	}
	var now, later, refused atomic.Int64
	var mu sync.Mutex
	places := map[time.Duration]int{}
	var all sync.WaitGroup
	for range workers {
		b := queues(t, redis.Config{URL: s.URL(0)}, "q")
		all.Go(func() {
			for range each {
				a, err := b.Admit(context.Background(), limits)
				switch {
				case err != nil:
					t.Error(err)
				case !a.Admitted:
					refused.Add(1)
				case a.Wait == 0:
					now.Add(1)
				default:
					later.Add(1)
					mu.Lock()
					places[a.Wait.Round(time.Hour)]++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if now.Load() != burst || later.Load() != reserved || refused.Load() != workers*each-burst-reserved {
		t.Errorf("%d now, %d later, %d refused, want %d, %d, %d", now.Load(), later.Load(), refused.Load(), burst, reserved, workers*each-burst-reserved)
	}
	for wait, n := range places {
		if n != 1 {
			t.Errorf("%d reservations for the time in %v", n, wait)
		}
	}
	// The refusals of the one limit have taken nothing of the other.
	a, err := queues(t, redis.Config{URL: s.URL(0)}, "q").Admit(context.Background(), []broker.Limit{{Name: "wide", Every: time.Minute, Burst: burst + reserved + 1}})
	if err != nil || !a.Admitted || a.Wait != 0 {
		t.Errorf("more than %d tokens are taken: %+v, %v", burst+reserved, a, err)
	}
	c := s.Conn(0)
	for _, key := range must(redigo.Strings(c.Do("KEYS", "*")))(t) {
		if ttl := must(redigo.Int64(c.Do("PTTL", key)))(t); ttl <= 0 {
			t.Errorf("%s never expires", key)
		}
	}
}

// A rate that was slowed down recovers by the clock of the server.
func TestSlowedRateRecovers(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	b := queues(t, redis.Config{URL: s.URL(0)}, "q")
	const key, every = "_goworker.1.slow.x", 100 * time.Hour
	// since returns the share that comes back while this test runs: a tenth in a minute.
	since := func(clock []int64) float64 {
		now := must(redigo.Int64s(c.Do("TIME")))(t)
		return float64((now[0]-clock[0])*1e6+now[1]-clock[1]) / 600e6
	}
	for name, tc := range map[string]struct {
		ago    time.Duration
		shares int
		want   float64 // share of the rate
	}{
		"at once":              {0, 500_000, 0.5},
		"a minute later":       {time.Minute, 500_000, 0.6},
		"four minutes later":   {4 * time.Minute, 500_000, 0.9},
		"an hour later":        {time.Hour, 15_625, 1},
		"from the bottom":      {90 * time.Second, 15_625, 0.165625},
		"of another clock":     {-time.Minute, 15_625, 1},
		"no value":             {0, 0, 1},
		"more than there is":   {0, 2_000_000, 1},
		"the bottom is a rate": {0, 15_625, 1.0 / 64},
	} {
		do(t, c, "FLUSHALL")
		clock := must(redigo.Int64s(c.Do("TIME")))(t)
		do(t, c, "SET", key, fmt.Sprintf("%d %d", clock[0]*1e6+clock[1]-tc.ago.Microseconds(), tc.shares))
		l := []broker.Limit{{Name: "x", Every: every, Reserve: 365 * 24 * time.Hour}}
		if _, err := b.Admit(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		a, err := b.Admit(t.Context(), l)
		want := time.Duration(float64(every) / tc.want)
		if least := time.Duration(float64(every) / (tc.want + since(clock))); err != nil || a.Wait > want+time.Second || a.Wait < least*99/100 {
			t.Errorf("%s: the next token comes after %v, want %v (%v)", name, a.Wait, want, err)
		}
	}
	// A limit without a rate recovers to twice the one that it was given, and then it has none.
	for name, tc := range map[string]struct {
		value string
		ago   time.Duration
		want  float64 // share of the rate; 0: there is none
	}{
		"at once":            {"500000 360000000000 a,b", 0, 0.5},
		"later":              {"500000 360000000000 -", 10 * time.Minute, 1.5},
		"at the end":         {"500000 360000000000 a", 15 * time.Minute, 0},
		"not slowed":         {"", 0, 0},
		"of a limit with it": {"500000", 0, 0},
		"no time":            {"500000 0 a", 0, 0},
		"too long a time":    {"500000 99999999999999 a", 0, 0},
		"a foreign value":    {"500000 x a", 0, 0},
	} {
		do(t, c, "FLUSHALL")
		clock := must(redigo.Int64s(c.Do("TIME")))(t)
		do(t, c, "SET", key, fmt.Sprintf("%d %s", clock[0]*1e6+clock[1]-tc.ago.Microseconds(), tc.value))
		l := []broker.Limit{{Name: "x", Reserve: 365 * 24 * time.Hour}}
		if _, err := b.Admit(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		a, err := b.Admit(t.Context(), l)
		want, least := time.Duration(0), time.Duration(0)
		if tc.want > 0 {
			want, least = time.Duration(float64(every)/tc.want), time.Duration(float64(every)/(tc.want+since(clock)))
		}
		if err != nil || a.Wait > want+time.Second || a.Wait < least*99/100 {
			t.Errorf("without a rate, %s: the next token comes after %v, want %v (%v)", name, a.Wait, want, err)
		}
		if n := must(redigo.Int(c.Do("EXISTS", "_goworker.1.admit.x")))(t); (n > 0) != (want > 0) {
			t.Errorf("without a rate, %s: %d keys of tokens", name, n)
		}
	}
	// Half of the rate each time, down to the bottom, and no less.
	do(t, c, "FLUSHALL")
	for n, want := range []float64{0.5, 0.25, 0.125, 1.0 / 16, 1.0 / 32, 1.0 / 64, 1.0 / 64} {
		share, slowed, err := b.Slow(t.Context(), broker.Slowing{Limit: "x"})
		if err != nil || !slowed || share < want-0.001 || share > want+0.06 {
			t.Errorf("slowed down %d times: share %v, %v, want %v (%v)", n+1, share, slowed, want, err)
		}
		if again, slowed, err := b.Slow(t.Context(), broker.Slowing{Limit: "x"}); again < share || slowed || err != nil {
			t.Errorf("the same trouble again: share %v after %v, %v, %v", again, share, slowed, err)
		}
		// 31 seconds later, in which a share of 5 % comes back.
		clock := must(redigo.Int64s(c.Do("TIME")))(t)
		do(t, c, "SET", key, fmt.Sprintf("%d %d", clock[0]*1e6+clock[1]-31e6, int(share*1e6)), "PX", 100000)
	}
}

// Values that other programs have left behind do not stop the work.
func TestAdmitWithForeignValues(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	b := queues(t, redis.Config{URL: s.URL(0)}, "q")
	for _, kind := range []string{"admit", "slow"} {
		key := "_goworker.1." + kind + ".x"
		for _, value := range [][]any{
			{"SET", key, ""}, {"SET", key, "nan"}, {"SET", key, "inf"}, {"SET", key, "-5"}, {"SET", key, "0x10"}, {"SET", key, "1 -1"}, {"SET", key, "1 0"},
			{"SET", key, "x\x00"}, {"SET", key, "99999999999999999999"}, {"SET", key, strings.Repeat("9", 400)}, {"LPUSH", key, "1"}, {"HSET", key, "a", "1"},
		} {
			do(t, c, "FLUSHALL")
			do(t, c, value[0].(string), value[1:]...)
			a, err := b.Admit(t.Context(), []broker.Limit{{Name: "x", Every: time.Hour}})
			if err != nil || !a.Admitted || a.Wait != 0 {
				t.Errorf("%q: %+v, %v", value, a, err)
			}
			given := broker.Slowing{Limit: "x", Every: time.Hour, Caller: "me"}
			do(t, c, "FLUSHALL")
			do(t, c, value[0].(string), value[1:]...)
			if share, slowed, err := b.Slow(t.Context(), given); share != 0.5 || !slowed || err != nil {
				t.Errorf("%q: slowed to %v without a rate, %v, %v", value, share, slowed, err)
			}
			do(t, c, "FLUSHALL")
			do(t, c, value[0].(string), value[1:]...)
			if share, slowed, err := b.Slow(t.Context(), broker.Slowing{Limit: "x"}); share != 0.5 || !slowed || err != nil {
				t.Errorf("%q: slowed to %v, %v, %v", value, share, slowed, err)
			}
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	s := redistest.Start(b, "--appendonly", "no")
	r, err := redis.New(redis.Config{URL: s.URL(0), Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { r.Close() })
	for _, n := range []int{1, 5} {
		b.Run(fmt.Sprintf("limits=%d", n), func(b *testing.B) {
			var limits []broker.Limit
			for i := range n {
				limits = append(limits, broker.Limit{Name: fmt.Sprint("limit ", i), Every: time.Microsecond, Burst: 1000})
			}
			for b.Loop() {
				if _, err := r.Admit(context.Background(), limits); err != nil {
					b.Fatal(err)
				}
			}
			c := s.Conn(0)
			stats, _ := redigo.String(c.Do("INFO", "commandstats"))
			b.Log(stats)
		})
	}
}
