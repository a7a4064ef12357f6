package rows

import (
	"slices"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// failover is R7.
var failover = harness.Row{
	ID:     "R7",
	Goal:   "three Sentinels: planned failovers, and the master killed",
	Mark:   "working < 2 s after the Sentinels name the new master, no exit",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		servers := []*testkit.Redis{s.Redis, testkit.StartRedis(r, "--replicaof", "127.0.0.1 "+s.Redis.Port)}
		sentinels := testkit.StartSentinels(r, 3, s.Redis)
		ready := func() bool { return sentinels.Replicas() >= 1 && sentinels.Master() != "" }
		testkit.Eventually(s, 30*time.Second, "the Sentinels know the replica", ready)
		// The notes need a Redis that stays.
		notes := testkit.StartRedis(r)
		w := s.Start(harness.Options{URL: sentinels.URL(), Master: testkit.MasterName, Notes: notes.URL(), Concurrency: 2})
		s.Ready()
		rounds := harness.Size(r, 1, 10)
		if r.Kind.IsCelery() {
			rounds = harness.Size(r, 1, 2)
		}
		var planned, killed []time.Duration
		// switched waits for the new master and measures until a task that was sent
		// to it has its result.
		switched := func(old string) time.Duration {
			testkit.Eventually(s, time.Minute, "another master", func() bool {
				m := sentinels.Master()
				return m != "" && m != old
			})
			begin, master := time.Now(), sentinels.Master()
			s.Redis = servers[slices.IndexFunc(servers, func(one *testkit.Redis) bool { return one.Addr() == master })]
			testkit.Eventually(s, 10*time.Second, "the new master takes writes", func() bool {
				_, err := s.Redis.Try("SET", "torture:probe", 1)
				return err == nil
			})
			id := s.SendFirst(harness.Task{})
			s.Want(testkit.Poll(time.Minute, func() bool { return s.Redis.Results([]string{id})[id].Final() }), "to work again after a failover")
			if w.Ended() {
				s.Figure("exits")
				s.Fatalf("the worker has ended")
			}
			return time.Since(begin)
		}
		for range rounds {
			testkit.Eventually(s, time.Minute, "there is a replica to promote", ready)
			old := sentinels.Master()
			// Sentinels put a failover off for a while after the last one.
			testkit.Eventually(s, 30*time.Second, "the Sentinels begin", func() bool { return sentinels.Failover() == nil })
			planned = append(planned, switched(old))

			testkit.Eventually(s, time.Minute, "there is a replica to promote", ready)
			old = sentinels.Master()
			victim := s.Redis
			victim.Proc.Kill()
			killed = append(killed, switched(old))
			victim.Start()
		}
		s.Figure("%d planned: median %s, worst %s; %d killed: median %s, worst %s", rounds,
			ms(percentile(planned, 50)), ms(slices.Max(planned)), rounds, ms(percentile(killed, 50)), ms(slices.Max(killed)))
		s.Want(slices.Max(append(planned, killed...)) < r.Mark(2*time.Second), "< %s after each failover", r.Mark(2*time.Second))
	},
}
