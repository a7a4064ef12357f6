package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/testkit/injector"
	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// counted is a task that counts its runs by number, and the retries that it has seen spent.
type counted struct {
	mu      sync.Mutex
	runs    map[int]int
	retries int
	hold    chan struct{} // closed: tasks with a negative number go on
}

func newCounted() *counted { return &counted{runs: map[int]int{}, hold: make(chan struct{})} }

func (n *counted) tasks() map[string]worker.Definition {
	return map[string]worker.Definition{"count": {Handler: worker.Func(func(ctx context.Context, a struct{ N int }) (int, error) {
		task, _ := worker.TaskFrom(ctx)
		n.mu.Lock()
		n.runs[a.N]++
		n.retries += task.Retries
		hold := n.hold
		n.mu.Unlock()
		if a.N < 0 {
			select {
			case <-hold:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return a.N, nil
	})}}
}

func (n *counted) of(number int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.runs[number]
}

// once fails the test unless each task ran once and spent no retry.
func (n *counted) once(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for number, runs := range n.runs {
		if runs != 1 {
			t.Errorf("task %d ran %d times", number, runs)
		}
	}
	if n.retries > 0 {
		t.Errorf("%d retries were spent", n.retries)
	}
}

// refusals are what Redis says when it cannot do its work at the moment.
var refusals = []string{
	"READONLY You can't write against a read only replica.",
	"LOADING Redis is loading the dataset in memory",
	"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	"CLUSTERDOWN The cluster is down",
	"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
	"NOREPLICAS Not enough good replicas to write.",
	"OOM command not allowed when used memory > 'maxmemory'.",
	"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
	"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
	"NOAUTH Authentication required.",
	"NOPERM No permissions to access a key",
	"TRYAGAIN Multiple keys request during rehashing of slot",
	"ERR max number of clients reached",
	"ERR Command is not allowed at the moment",
}

// TestRefusalsAreWaitedOut has the server refuse everything but reads, while a task runs and
// another one waits. The worker waits, ends the one and runs the other, without a retry.
func TestRefusalsAreWaitedOut(t *testing.T) {
	t.Parallel()
	for _, refusal := range refusals {
		code, _, _ := strings.Cut(refusal, " ")
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			c := s.Conn(0)
			in, err := injector.New(s.Addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(in.Close)
			tasks := newCounted()
			w, _ := runWorker(t, redis.Config{URL: "redis://" + in.Addr() + "/0"}, worker.Config{Concurrency: 2, Tasks: tasks.tasks()})
			running := send(t, c, "q", "count", "[-1]")
			eventually(t, "a task runs", func() bool { return tasks.of(-1) == 1 })
			in.Set(injector.Rule{Command: "EVALSHA", Error: refusal})
			waiting := send(t, c, "q", "count", "[1]")
			close(tasks.hold) // its end is refused
			eventually(t, "it is refused three times", func() bool { return in.Hits() >= 3 })
			in.Set(injector.Rule{})
			over := time.Now()
			for _, id := range []string{running, waiting} {
				eventually(t, "a task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
			}
			t.Logf("done %v after the last refusal", time.Since(over).Round(time.Millisecond))
			tasks.once(t)
			if s := w.Status(); s.State != worker.StateRunning {
				t.Errorf("worker is %v: %s", s.State, s.Fault)
			}
		})
	}
}

// A server without room for another client is waited for.
func TestNoRoomForClients(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	tasks := newCounted()
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Concurrency: 2, Tasks: tasks.tasks()})
	send(t, c, "q", "count", "[1]")
	eventually(t, "a task is done", func() bool { return tasks.of(1) == 1 })
	do(t, c, "CONFIG", "SET", "maxclients", 1)
	do(t, c, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	id := send(t, c, "q", "count", "[2]")
	eventually(t, "clients are refused", func() bool {
		return !strings.Contains(must(redigo.String(c.Do("INFO", "stats")))(t), "rejected_connections:0\r\n")
	})
	do(t, c, "CONFIG", "SET", "maxclients", 1000)
	eventually(t, "the next task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
	tasks.once(t)
}

// pairOfServers are a master and its replica behind one name, as managed servers have them.
type pairOfServers struct {
	name            *proxy.Proxy
	master, replica *redistest.Server
}

func newPair(t *testing.T) *pairOfServers {
	t.Helper()
	p := &pairOfServers{master: redistest.Start(t)}
	p.replica = redistest.Start(t, "--replicaof", "127.0.0.1", fmt.Sprint(p.master.Port))
	var err error
	if p.name, err = proxy.New(p.master.Addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.name.Close)
	p.inStep(t)
	return p
}

// inStep waits until the replica has all that the master has.
func (p *pairOfServers) inStep(t *testing.T) {
	t.Helper()
	m, r := p.master.Conn(0), p.replica.Conn(0)
	eventually(t, "the replica is in step", func() bool {
		role, err := redigo.Values(r.Do("ROLE"))
		if err != nil || len(role) < 5 {
			return false
		}
		state, _ := redigo.String(role[3], nil)
		has, _ := redigo.Int(role[4], nil)
		of := must(redigo.Values(m.Do("ROLE")))(t)
		all, _ := redigo.Int(of[1], nil)
		return state == "connected" && has == all
	})
}

// swap makes the replica the master, as planned: nothing is written while the replica falls
// into step. named is called when the roles have changed; the name still leads to the old
// master before.
func (p *pairOfServers) swap(t *testing.T, named func()) {
	t.Helper()
	m, r := p.master.Conn(0), p.replica.Conn(0)
	do(t, m, "CLIENT", "PAUSE", 10_000, "WRITE")
	p.inStep(t)
	do(t, r, "REPLICAOF", "NO", "ONE")
	do(t, m, "REPLICAOF", "127.0.0.1", fmt.Sprint(p.replica.Port))
	do(t, m, "CLIENT", "UNPAUSE")
	p.master, p.replica = p.replica, p.master
	named()
}

// TestFailoverBehindOneName has the replica of a managed server become the master under load.
// The name leads to the old master, now a replica, for a while; and open connections to it stay
// open. Nothing is lost or run twice, and no retry is spent.
func TestFailoverBehindOneName(t *testing.T) {
	t.Parallel()
	for name, announce := range map[string]func(p *pairOfServers){
		"open connections stay": func(p *pairOfServers) { p.name.Rename(p.master.Addr) },
		"connections are cut":   func(p *pairOfServers) { p.name.Redirect(p.master.Addr) },
		"name changes late": func(p *pairOfServers) {
			time.Sleep(1500 * time.Millisecond) // as long as an answer of DNS is kept
			p.name.Rename(p.master.Addr)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			tasks := newCounted()
			w, _ := runWorker(t, redis.Config{URL: "redis://" + p.name.Addr() + "/0"}, worker.Config{Concurrency: 4, Tasks: tasks.tasks()})
			var ids []string
			add := func(n int) {
				c := p.master.Conn(0)
				for range n {
					ids = append(ids, send(t, c, "q", "count", fmt.Sprintf("[%d]", len(ids)+1)))
				}
			}
			add(50)
			running := send(t, p.master.Conn(0), "q", "count", "[-1]")
			eventually(t, "tasks run", func() bool { return tasks.of(-1) == 1 && tasks.of(10) == 1 })
			for range 2 { // there and back
				add(300)
				p.swap(t, func() { announce(p) })
				began := time.Now()
				add(50)
				last := ids[len(ids)-1]
				c := p.master.Conn(0)
				eventually(t, "the last task is done", func() bool { return result(t, c, last).Status == "SUCCESS" })
				t.Logf("all done %v after the name has changed", time.Since(began).Round(time.Millisecond))
				p.inStep(t)
			}
			close(tasks.hold) // it ran all the while
			c := p.master.Conn(0)
			for _, id := range append(slices.Clip(ids), running) {
				eventually(t, "each task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
			}
			tasks.once(t)
			eventually(t, "nothing is unacknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
			old := p.replica.Conn(0)
			eventually(t, "no connection leads to the replica", func() bool {
				return p.clientsOf(t, old) == 0
			})
			if s := w.Status(); s.State != worker.StateRunning {
				t.Errorf("worker is %v: %s", s.State, s.Fault)
			}
		})
	}
}

// TestMasterDiesBehindOneName kills the master while a task runs. The task ends on the replica,
// whose name it is then, and is not run again.
func TestMasterDiesBehindOneName(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	tasks := newCounted()
	runWorker(t, redis.Config{URL: "redis://" + p.name.Addr() + "/0"}, worker.Config{Concurrency: 2, Tasks: tasks.tasks()})
	running := send(t, p.master.Conn(0), "q", "count", "[-1]")
	eventually(t, "a task runs", func() bool { return tasks.of(-1) == 1 })
	p.inStep(t)
	p.master.Kill()
	close(tasks.hold) // nothing takes its result now
	do(t, p.replica.Conn(0), "REPLICAOF", "NO", "ONE")
	p.name.Rename(p.replica.Addr)
	promoted := time.Now()
	c := p.replica.Conn(0)
	next := send(t, c, "q", "count", "[1]")
	for _, id := range []string{running, next} {
		eventually(t, "a task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
	t.Logf("all done %v after the replica is the master", time.Since(promoted).Round(time.Millisecond))
	tasks.once(t)
}

// clientsOf counts the connections to a server that are those of a worker.
func (p *pairOfServers) clientsOf(t *testing.T, c redigo.Conn) (n int) {
	t.Helper()
	for line := range strings.Lines(must(redigo.String(c.Do("CLIENT", "LIST")))(t)) {
		for _, command := range []string{"cmd=evalsha", "cmd=blmove", "cmd=psubscribe", "cmd=subscribe"} {
			if strings.Contains(line, command) {
				n++
			}
		}
	}
	return n
}
