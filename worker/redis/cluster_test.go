package redis_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/hashslot"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
	"github.com/evently/workers/worker/workertest"
)

// clusterRounds is the number of times that TestCluster loses its master in each way. For
// figures: go test ./worker/redis -run 'TestCluster$' -v -cluster.rounds 10
var clusterRounds = flag.Int("cluster.rounds", 1, "failovers of each sort, and moves of the slot, of TestCluster")

// tag is the prefix of all keys in the tests of a cluster.
const tag = "{celery}:"

func clusterConfig(c *redistest.Cluster) redis.Config {
	var nodes []string
	for _, n := range c.Nodes {
		nodes = append(nodes, n.Addr)
	}
	return redis.Config{URL: "redis://" + strings.Join(nodes, ",") + "/0", Cluster: true, KeyPrefix: tag, ResultKeyPrefix: tag}
}

// In a cluster a key outside our slot is an error at once. So the suite of all brokers finds
// keys without the prefix.
func TestBrokerInACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, false)
	owner := cluster.Owner(tag)
	workertest.TestBroker(t, func(t *testing.T) workertest.Fixture {
		c := owner.Conn(0)
		if _, err := c.Do("FLUSHALL"); err != nil {
			t.Fatalf("empty the database: %v", err)
		}
		f := fixture(t, c, clusterConfig(cluster))
		f.Stored = func(id string) string {
			b, err := redigo.Bytes(c.Do("GET", tag+"celery-task-meta-"+id))
			if err != nil {
				return ""
			}
			r, err := protocol.DecodeResult(b)
			if err != nil {
				t.Errorf("read result: %v", err)
				return ""
			}
			return string(r.Status)
		}
		return f
	})
}

// load sends tasks one after the other, waits until a replica has each of them, and counts
// their runs.
type load struct {
	t       testing.TB
	cluster *redistest.Cluster
	queue   string // default: q

	mu   sync.Mutex
	runs map[int]int
	sent int // numbers below were accepted
}

func (l *load) handle(_ context.Context, a struct{ N int }) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[a.N]++
	return a.N, nil
}

// produce sends until ctx ends. A producer that gets an error sends the task again.
func (l *load) produce(ctx context.Context) {
	var c redigo.Conn
	hangUp := func() {
		if c != nil {
			c.Close()
			c = nil
		}
	}
	defer hangUp()
	for n := 0; ctx.Err() == nil; {
		if c == nil {
			if owner := l.cluster.Owner(tag); owner != nil {
				c, _ = owner.Dial(2 * time.Second)
			}
		}
		if c == nil || !l.push(c, n) {
			hangUp()
			time.Sleep(20 * time.Millisecond)
			continue
		}
		n++
		l.mu.Lock()
		l.sent = n
		l.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
}

func (l *load) push(c redigo.Conn, n int) bool {
	id := fmt.Sprintf("task-%d", n)
	raw, err := protocol.Encode(&protocol.Message{
		ID: id, RootID: id, CorrelationID: id, Task: "count", Args: protocol.Raw(fmt.Sprintf("[%d]", n)), Kwargs: protocol.Raw("{}"),
		DeliveryTag: id, RoutingKey: cmp.Or(l.queue, "q"),
	})
	if err != nil {
		l.t.Errorf("encode: %v", err)
		return false
	}
	if _, err := c.Do("LPUSH", tag+cmp.Or(l.queue, "q"), raw); err != nil {
		return false
	}
	replicas, err := redigo.Int(c.Do("WAIT", 1, 1000))
	return err == nil && replicas > 0
}

// next returns the time until a task has run that was sent from now on.
func (l *load) next() time.Duration {
	l.t.Helper()
	begin := time.Now()
	l.mu.Lock()
	n := l.sent
	l.mu.Unlock()
	eventually(l.t, "a new task is done", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.runs[n] > 0
	})
	return time.Since(begin)
}

// more waits until some more tasks were accepted, so that the next fault comes under load.
func (l *load) more() {
	l.t.Helper()
	l.mu.Lock()
	want := l.sent + 150
	l.mu.Unlock()
	eventually(l.t, "more tasks are accepted", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sent >= want
	})
}

// settled waits until all accepted tasks have run. It returns their number, and how many of
// them ran more than once.
func (l *load) settled() (all, twice int) {
	l.t.Helper()
	eventually(l.t, "all tasks are done", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for n := range l.sent {
			if l.runs[n] == 0 {
				return false
			}
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.sent {
		if l.runs[n] > 1 {
			twice++
		}
	}
	return l.sent, twice
}

// TestCluster moves the slot of all keys under load: by planned failovers, by the death of its
// owner, by an owner that freezes and comes back, and to another master key by key. In between
// the cluster refuses everything for a time. Nothing that a replica has is lost.
func TestCluster(t *testing.T) {
	t.Parallel()
	testCluster(t, "redis-server", "planned failover", "owner killed", "owner frozen", "slot moved", "another slot lost and found")
}

// testCluster runs a worker in a cluster, to which happens what is listed.
func testCluster(t *testing.T, program string, happens ...string) {
	cluster := redistest.ClusterConfig{Masters: 3, Replicas: true, Program: program}.Start(t)
	l := &load{t: t, cluster: cluster, runs: map[int]int{}}
	cfg := clusterConfig(cluster)
	cfg.OwnerTimeout = 5 * time.Second
	w, _ := runWorker(t, cfg, worker.Config{Concurrency: 4, Tasks: map[string]worker.Definition{"count": {Handler: worker.Func(l.handle)}}})
	ctx, stop := context.WithCancel(t.Context())
	var producing sync.WaitGroup
	producing.Go(func() { l.produce(ctx) })
	defer func() { stop(); producing.Wait() }()
	l.next()

	times := map[string][]time.Duration{}
	for range *clusterRounds {
		for _, what := range happens {
			l.more()
			took := map[string]func(*testing.T, *redistest.Cluster, *load) time.Duration{
				"planned failover": failover, "owner killed": killed, "owner frozen": frozen,
				"slot moved": moved, "another slot lost and found": refused,
			}[what](t, cluster, l)
			times[what] = append(times[what], took)
			cluster.WaitWhole()
		}
	}
	l.more()
	stop()
	producing.Wait()
	all, twice := l.settled()
	for what, took := range times {
		slices.Sort(took)
		t.Logf("%s: a new task is done after %v (median of %d), %v at most", what, took[len(took)/2].Round(time.Millisecond), len(took), took[len(took)-1].Round(time.Millisecond))
	}
	t.Logf("%d tasks, 0 lost, %d ran more than once", all, twice)
	if s := w.Status(); s.State != worker.StateRunning || s.Retried+s.Failed+s.DeadLettered != 0 {
		t.Errorf("worker is %v, %d tasks retried, %d failed, %d among the dead letters: %s", s.State, s.Retried, s.Failed, s.DeadLettered, s.Fault)
	}
}

// failover promotes the replica of the owner as planned, and returns the time from then until a
// new task is done.
func failover(_ *testing.T, cluster *redistest.Cluster, l *load) time.Duration {
	cluster.Failover(tag)
	return l.next()
}

// killed kills the owner, and returns the time from the promotion of its replica until a new
// task is done.
func killed(t *testing.T, cluster *redistest.Cluster, l *load) time.Duration {
	owner := cluster.Owner(tag)
	owner.Kill()
	took := promoted(t, cluster, l, "owner killed")
	owner.Up()
	return took
}

// frozen freezes the owner until its replica is promoted and has work done. It returns the time
// from the promotion until a new task is done.
func frozen(t *testing.T, cluster *redistest.Cluster, l *load) time.Duration {
	owner := cluster.Owner(tag)
	owner.Stop()
	took := promoted(t, cluster, l, "owner frozen")
	owner.Continue() // it takes itself for the owner until it hears from the others
	l.more()
	return took
}

// promoted waits until the replica of an owner that does not answer is promoted, and returns
// the time from then until a new task is done.
func promoted(t *testing.T, cluster *redistest.Cluster, l *load, what string) time.Duration {
	begin := time.Now()
	eventually(t, "a replica is promoted", func() bool { return cluster.Owner(tag) != nil })
	t.Logf("%s: its replica was promoted after %v", what, time.Since(begin).Round(time.Millisecond))
	return l.next()
}

// refused has the cluster refuse everything, because a slot of other keys has no owner. It
// returns the time from when the cluster is whole again until a new task is done.
func refused(t *testing.T, cluster *redistest.Cluster, l *load) time.Duration {
	owner, other := cluster.Owner(tag), hashslot.Of("another key")
	cluster.LoseSlot(other)
	if _, err := owner.Conn(0).Do("EXISTS", tag); err == nil || !strings.HasPrefix(err.Error(), "CLUSTERDOWN") {
		t.Errorf("the cluster does not refuse: %v", err)
	}
	cluster.FindSlot(other, owner)
	return l.next()
}

// moved moves the slot to another master. For a second some keys are there and some are not.
// It returns the time from the end of the move until a new task is done.
func moved(t *testing.T, cluster *redistest.Cluster, l *load) time.Duration {
	from := cluster.Owner(tag)
	var to *redistest.Server
	for _, n := range cluster.Nodes {
		if n != from && cluster.Replica(n) != nil {
			to = n
		}
	}
	cluster.BeginMove(tag, to, func(key string) bool { return strings.Contains(key, "unacked") || strings.HasSuffix(key, "owners") })
	time.Sleep(time.Second)
	cluster.EndMove(tag, to)
	return l.next()
}

// In a cluster the recipe of docs/operations.md is enough with the right that it names, and a
// user without this right is told so.
func TestRightsInACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1, false)
	c := cluster.Nodes[0].Conn(0)
	const right = "+cluster|slots"
	if text := must(os.ReadFile("../../docs/operations.md"))(t); !strings.Contains(string(text), "`"+right+"`") {
		t.Errorf("docs/operations.md does not name %s", right)
	}
	setuser := []any{"SETUSER"}
	for _, word := range (prefixes{tag, tag}).apply(recipe(t, 0)) {
		setuser = append(setuser, word)
	}
	misconfigured(t, cluster.Nodes[0])
	do(t, c, "ACL", setuser...)
	cfg := redis.Config{URL: "redis://evently:secret@" + cluster.Nodes[0].Addr, Cluster: true, KeyPrefix: tag, ResultKeyPrefix: tag, Logger: quiet()}
	b := must(redis.New(cfg))(t)
	t.Cleanup(func() { b.Close() })
	if err := b.Broadcast(t.Context(), nil); err == nil || !strings.Contains(err.Error(), right) {
		t.Errorf("without the right: %v; want an error that names %s", err, right)
	}
	do(t, c, "ACL", append(setuser, right)...)
	do(t, c, "ACL", "LOG", "RESET")
	w, stop := runWorker(t, cfg, worker.Config{Queues: []string{"email_notifications"}, Tasks: nothing()})
	id := send(t, c, tag+"email_notifications", "nothing", "[]")
	eventually(t, "the task is done", func() bool {
		n, err := redigo.Int(c.Do("EXISTS", tag+"celery-task-meta-"+id))
		return err == nil && n == 1 && w.Status().Succeeded == 1
	})
	stop()
	for _, entry := range must(redigo.Values(c.Do("ACL", "LOG")))(t) {
		t.Errorf("denied: %s", entry)
	}
}

// misconfigured takes a node of a cluster for a server, and a server for a node of a cluster. The
// errors say what to do.
func misconfigured(t *testing.T, node *redistest.Server) {
	t.Helper()
	plain := redistest.Start(t)
	for _, bad := range []struct {
		name string
		cfg  redis.Config
		want []string
	}{
		{"a node without Cluster", redis.Config{URL: node.URL(0)}, []string{"set REDIS_CLUSTER"}},
		{"the same with a prefix for all nodes", redis.Config{URL: node.URL(0), KeyPrefix: "p:"}, []string{"set REDIS_CLUSTER"}},
		{"a database of a node", redis.Config{URL: node.URL(1)}, []string{"the database 0 only", "set REDIS_CLUSTER"}},
		{"a server with Cluster", redis.Config{URL: plain.URL(0), Cluster: true, KeyPrefix: tag, ResultKeyPrefix: tag}, []string{"no node of a Redis Cluster", "unset REDIS_CLUSTER"}},
	} {
		bad.cfg.Logger = quiet()
		b := must(redis.New(bad.cfg))(t)
		_, err := b.Queues().Look(t.Context(), []broker.ListLook{{QueueList: broker.QueueList{Queue: "q"}}})
		for _, want := range bad.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q", bad.name, err, want)
			}
		}
		b.Close()
	}
}
