package e2e_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit/proxy"
)

// faultyWorker is a worker that reaches Redis through a proxy, and a producer
// that does not: it notices at once what the worker misses.
type faultyWorker struct {
	t     *testing.T
	redis *redisServer
	proxy *proxy.Proxy
	proc  *process
	ids   []string // of everything sent
}

func startFaulty(t *testing.T, redisArgs ...string) *faultyWorker {
	t.Helper()
	f := &faultyWorker{t: t, redis: startRedis(t, redisArgs...)}
	var err error
	if f.proxy, err = proxy.New(f.redis.addr()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.proxy.Close)
	f.proc = startWorkerAt(t, f.redis, "redis://"+f.proxy.Addr()+"/0", "ours", "-visibility", "30s", "-owner-timeout", "5s")
	f.probe("at the start")
	return f
}

// probe sends one task and returns the time to its result.
func (f *faultyWorker) probe(when string) time.Duration {
	f.t.Helper()
	begin := time.Now()
	ids := f.send(1, 0)
	awaitResults(f.redis, ids, time.Minute)
	d := time.Since(begin)
	if f.proc.ended() {
		f.t.Fatalf("%s: the worker has ended", when)
	}
	return d
}

// send publishes tasks by real Celery.
func (f *faultyWorker) send(n int, seconds float64) []string {
	f.t.Helper()
	ids := flood(f.t, celeryNew, f.redis, queue, n, "e2e.work", []any{seconds, "%d"}, nil)
	f.ids = append(f.ids, ids...)
	return ids
}

// prepare makes a message ready to be pushed by hand, without a Python process
// that takes a second: recovery times are to be measured.
func (f *faultyWorker) prepare(n int) (raw []any, ids []string) {
	f.t.Helper()
	const aside = "e2e.aside"
	ids = flood(f.t, celeryNew, f.redis, aside, n, "e2e.work", []any{0, "%d"}, nil)
	f.ids = append(f.ids, ids...)
	for _, m := range f.redis.strings("LRANGE", aside, 0, -1) {
		raw = append(raw, strings.ReplaceAll(m, `"`+aside+`"`, `"`+queue+`"`))
	}
	slices.Reverse(raw) // the oldest is the last of the list
	f.redis.do("DEL", aside)
	return raw, ids
}

// recovers pushes a task and measures until its result is there.
func (f *faultyWorker) recovers(raw any, id string, limit time.Duration) time.Duration {
	f.t.Helper()
	begin := time.Now()
	f.redis.do("RPUSH", queue, raw) // served next, whatever waits
	awaitResults(f.redis, []string{id}, limit)
	return time.Since(begin)
}

// lost fails when a task has no result in the end.
func (f *faultyWorker) lost() {
	f.t.Helper()
	c := awaitResults(f.redis, f.ids, time.Minute)
	f.t.Logf("in all: %s", c)
	f.redis.settled(queue)
	if f.proc.ended() {
		f.t.Error("the worker has ended")
	}
}

// TestConnectionsCut kills and resets the connections of an idle and of a busy
// worker.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	const rounds = 10
	raw, ids := f.prepare(2 * rounds)
	var worst time.Duration
	for i := range rounds {
		f.redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		worst = max(worst, f.recovers(raw[2*i], ids[2*i], 30*time.Second))
		f.proxy.Reset()
		worst = max(worst, f.recovers(raw[2*i+1], ids[2*i+1], 30*time.Second))
	}
	t.Logf("idle: %d cuts, working again after %s at worst", 2*rounds, worst.Round(time.Millisecond))

	f.send(400, 0.02)
	cuts := 0
	for done := 0; done < 350; done = len(f.redis.runs()) - 2*rounds - 1 {
		cuts += f.proxy.Reset()
		before := len(f.redis.runs())
		eventually(t, 30*time.Second, "tasks run again after a cut", func() bool { return len(f.redis.runs()) > before || f.redis.waiting(queue) == 0 })
		if f.redis.waiting(queue) == 0 {
			break
		}
	}
	t.Logf("busy: %d connections cut", cuts)
	f.lost()
}

// TestRefused takes Redis away for a while, as seen by the worker alone.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	f.send(40, 0.05)
	raw, ids := f.prepare(1)
	if err := f.proxy.Set(proxy.Refuse); err != nil {
		t.Fatal(err)
	}
	pause(t, 4*time.Second) // the outage itself
	if err := f.proxy.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	t.Logf("refused for 4s: working again %s after", f.recovers(raw[0], ids[0], 30*time.Second).Round(time.Millisecond))
	f.lost()
}

// TestFrozen freezes connections without a word, as a pulled cable or a
// forgetful firewall does: first the open ones, then all.
func TestFrozen(t *testing.T) {
	t.Parallel()
	f := startFaulty(t)
	raw, ids := f.prepare(2)
	n := f.proxy.Stick()
	t.Logf("idle, %d connections frozen for good: working again after %s", n,
		f.recovers(raw[0], ids[0], 30*time.Second).Round(time.Millisecond))

	f.send(100, 0.05)
	if err := f.proxy.Set(proxy.Freeze); err != nil {
		t.Fatal(err)
	}
	pause(t, 3*time.Second)
	if err := f.proxy.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	t.Logf("busy, frozen for 3s: working again after %s", f.recovers(raw[1], ids[1], 30*time.Second).Round(time.Millisecond))
	f.lost()
}

// TestRedisRestarted stops Redis under load and starts it again.
func TestRedisRestarted(t *testing.T) {
	t.Parallel()
	f := startFaulty(t, "--appendonly", "yes", "--appendfsync", "always")
	f.send(300, 0.05)
	raw, ids := f.prepare(2)
	for i, end := range []struct {
		how    string
		signal syscall.Signal
	}{{"stopped", syscall.SIGTERM}, {"killed", syscall.SIGKILL}} {
		f.redis.proc.signal(end.signal)
		<-f.redis.proc.done
		pause(t, time.Second)
		f.redis.start()
		t.Logf("Redis %s for 1s: working again %s after it answers", end.how,
			f.recovers(raw[i], ids[i], 30*time.Second).Round(time.Millisecond))
	}
	f.lost()
}

// TestWithoutBLMOVE runs against what an old server lacks.
func TestWithoutBLMOVE(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--rename-command", "BLMOVE", "")
	startWorker(t, r, "ours")
	ids := flood(t, celeryOld, r, queue, 200, "e2e.work", []any{0.005, "%d"}, nil)
	c := awaitResults(r, ids, time.Minute)
	t.Logf("without BLMOVE: %s", c)
	if c.twice != 0 {
		t.Errorf("%s; want each to run once", c)
	}
	checkNumbers(r, ids)
	r.settled(queue)
}
