package rows

import (
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// failover is R7.
var failover = harness.Row{
	ID:     "R7",
	Goal:   "three Sentinels: planned failovers, and the master killed, under load; messages put into a demoted master that still takes writes",
	Mark:   "working < 2 s after the Sentinels name the new master, 0 lost, nothing is claimed from a demoted master, no exit",
	Celery: true,
	Run: func(r *harness.Run) {
		f := newFailovers(r)
		rounds := harness.Size(r, 1, 20)
		var planned, killed []time.Duration
		for range rounds {
			f.load()
			old := f.Redis
			// Sentinels put a failover off for a while after the last one.
			testkit.Eventually(f, 30*time.Second, "the Sentinels begin", func() bool { return f.sentinels.Failover() == nil })
			planned = append(planned, f.switched(old))
			f.bait(old)

			f.load()
			old = f.Redis
			old.Proc.Kill()
			killed = append(killed, f.switched(old))
			old.Start() // as a master, until a Sentinel tells it
			f.bait(old)
		}
		a := f.Await(f.IDs, time.Minute)
		f.Figure("%d planned: median %s, worst %s; %d killed: median %s, worst %s; %d lost of %d, %d run twice; %d of %d messages claimed from demoted masters; %d exits", rounds,
			ms(percentile(planned, 50)), ms(slices.Max(planned)), rounds, ms(percentile(killed, 50)), ms(slices.Max(killed)), a.Lost, a.Tasks, a.Doubled, f.taken, f.baits, f.exits)
		f.Want(slices.Max(append(planned, killed...)) < r.Mark(2*time.Second), "< %s after each failover", r.Mark(2*time.Second))
		f.Want(a.Done == a.Tasks && a.Failed == 0, "every task done: %s", a)
		f.Want(f.exits == 0, "no exit, were %d", f.exits)
		f.Want(f.taken == 0, "nothing to be claimed from a demoted master, were %d of %d", f.taken, f.baits)
		f.Want(!r.Long || f.baits > rounds, "messages in demoted masters, are %d in %d rounds", f.baits, rounds)
	},
}

// failovers is the stage of R7.
type failovers struct {
	*harness.Stage
	sentinels    *testkit.Sentinels
	servers      []*testkit.Redis
	worker       *testkit.Process
	exits        int // of the worker
	baits, taken int // messages in demoted masters
}

func newFailovers(r *harness.Run) *failovers {
	s := harness.NewStage(r)
	f := &failovers{Stage: s, servers: []*testkit.Redis{s.Redis, testkit.StartRedis(r, "--replicaof", "127.0.0.1 "+s.Redis.Port, "--repl-diskless-sync-delay", "0")}}
	f.sentinels = testkit.StartSentinels(r, 3, s.Redis)
	f.sentinels.Patience(harness.Size(r, 500*time.Millisecond, 2*time.Second))
	f.await()
	s.NoteAside() // the notes need a Redis that stays
	f.start()
	s.Ready()
	return f
}

func (f *failovers) start() {
	f.worker = f.Start(harness.Options{URL: f.sentinels.URL(), Master: testkit.MasterName, Concurrency: 2, Visibility: 10 * time.Second})
}

// await waits until there is a replica to promote. On a busy machine the Sentinels also fail over unasked.
func (f *failovers) await() {
	testkit.Eventually(f, time.Minute, "there is a replica to promote", func() bool {
		f.follow()
		_, err := f.Redis.Try("SET", "torture:probe", 1)
		return err == nil && f.sentinels.Replicas() >= 1
	})
}

// follow has the stage use the server that the Sentinels name.
func (f *failovers) follow() {
	master := f.sentinels.Master()
	if i := slices.IndexFunc(f.servers, func(one *testkit.Redis) bool { return one.Addr() == master }); i >= 0 {
		f.Redis = f.servers[i]
	}
}

// load sends tasks that the replica has, too, when it returns: what a master has not replicated is
// lost with it.
func (f *failovers) load() {
	f.await()
	f.Send(20, harness.Task{Seconds: 0.05})
	c := f.Redis.Pool.Get()
	defer c.Close()
	_, err := c.Do("SET", "torture:probe", 1) // WAIT counts what the connection has written
	if err != nil {
		f.Fatalf("write to the master: %v", err)
	}
	if n, err := redis.Int(c.Do("WAIT", 1, 10_000)); n < 1 || err != nil {
		f.Fatalf("the replica does not follow: %v", err)
	}
}

// switched waits for the new master and measures until a task that was sent to it has its result.
func (f *failovers) switched(old *testkit.Redis) time.Duration {
	testkit.Eventually(f, time.Minute, "another master", func() bool {
		f.follow()
		return f.Redis != old
	})
	begin := time.Now()
	testkit.Eventually(f, 30*time.Second, "the new master takes writes", func() bool {
		_, err := f.Redis.Try("SET", "torture:probe", 1)
		return err == nil
	})
	id := f.SendFirst(harness.Task{})
	f.Want(testkit.Poll(2*time.Minute, func() bool {
		if f.worker.Ended() {
			f.exits++
			f.start()
		}
		return f.Redis.Results([]string{id})[id].Final()
	}), "to work again after a failover")
	return time.Since(begin)
}

// bait puts messages into a demoted master for as long as it takes writes, and counts how many
// workers claim there.
func (f *failovers) bait(demoted *testkit.Redis) {
	var raws []string
	testkit.Poll(30*time.Second, func() bool {
		_, raw := f.Message(0, harness.Task{})
		if _, err := demoted.Try("LPUSH", harness.Queue, raw); err != nil {
			return true
		}
		raws = append(raws, raw)
		left, err := redis.Strings(demoted.Try("LRANGE", harness.Queue, 0, -1))
		if err != nil {
			return true
		}
		taken := len(slices.DeleteFunc(slices.Clone(raws), func(raw string) bool { return slices.Contains(left, raw) }))
		// It is a replica, and its keys are those of the new master, from the moment that it refuses writes.
		if _, err := demoted.Try("SET", "torture:probe", 1); err != nil {
			return true
		}
		f.taken += taken
		testkit.Pause(f, 60*time.Millisecond) // a Sentinel takes ten seconds
		return taken > 0 || len(raws) == 50
	})
	f.baits += len(raws)
}
