package redis_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// TestSentinel lets the master move, as planned and by its death: the worker
// goes along, and what was replicated is done.
func TestSentinel(t *testing.T) {
	t.Parallel()
	servers := []*redistest.Server{redistest.Start(t)}
	servers = append(servers, redistest.Start(t, "--replicaof", "127.0.0.1", fmt.Sprint(servers[0].Port)))
	sentinels := redistest.StartSentinels(t, 3, servers[0])
	var hosts []string
	for _, s := range sentinels {
		hosts = append(hosts, "sentinel://"+s.Addr)
	}
	sentinel := sentinels[0].Conn(0)
	master := func() string {
		parts, err := redigo.Strings(sentinel.Do("SENTINEL", "get-master-addr-by-name", "mymaster"))
		if err != nil || len(parts) != 2 {
			return ""
		}
		return net.JoinHostPort(parts[0], parts[1])
	}
	eventually(t, "the Sentinels know each other and the replica", func() bool {
		others, err := redigo.Values(sentinel.Do("SENTINEL", "SENTINELS", "mymaster"))
		replicas, err2 := redigo.Values(sentinel.Do("SENTINEL", "REPLICAS", "mymaster"))
		return err == nil && err2 == nil && len(others) == 2 && len(replicas) == 1
	})

	var mu sync.Mutex
	runs := map[int]int{}
	ran := func(n int) bool {
		mu.Lock()
		defer mu.Unlock()
		return runs[n] > 0
	}
	// One Sentinel of the URL is not there.
	w, _ := runWorker(t, redis.Config{URL: "sentinel://127.0.0.1:1;" + strings.Join(hosts, ";") + "/0", SentinelMaster: "mymaster"},
		worker.Config{Concurrency: 2, Tasks: map[string]worker.Definition{
			"count": {Handler: worker.Func(func(_ context.Context, a struct{ N int }) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				runs[a.N]++
				return a.N, nil
			})},
		}})
	number := 0
	work := func(addr, when string) {
		t.Helper()
		number++
		c, err := redigo.Dial("tcp", addr, redigo.DialReadTimeout(5*time.Second))
		if err != nil {
			t.Fatalf("connect to the master: %v", err)
		}
		defer c.Close()
		id := send(t, c, "q", "count", fmt.Sprintf("[%d]", number))
		eventually(t, "a task is done "+when, func() bool { return ran(number) })
		eventually(t, "its result is stored "+when, func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
	work(servers[0].Addr, "before anything happens")

	move := func(how string, do func()) {
		t.Helper()
		old := master()
		do()
		eventually(t, "there is another master", func() bool { m := master(); return m != "" && m != old })
		promoted := time.Now()
		work(master(), "after the master "+how)
		t.Logf("master %s: a task is done %v after the Sentinels name another one", how, time.Since(promoted).Round(time.Millisecond))
		if s := w.Status(); s.State != worker.StateRunning {
			t.Errorf("worker is %v: %s", s.State, s.Fault)
		}
	}
	move("was replaced as planned", func() {
		if _, err := sentinel.Do("SENTINEL", "FAILOVER", "mymaster"); err != nil {
			t.Fatalf("SENTINEL FAILOVER: %v", err)
		}
	})
	eventually(t, "the old master is a replica that is in step", func() bool {
		role, err := redigo.Values(servers[0].Conn(0).Do("ROLE"))
		if err != nil || len(role) < 4 {
			return false
		}
		state, _ := redigo.String(role[3], nil)
		return state == "connected"
	})
	move("was killed", func() {
		for _, s := range servers {
			if s.Addr == master() {
				s.Kill()
				return
			}
		}
	})
}

// With Sentinels the recipe of docs/operations.md is enough as well, and so is the
// right that it names for the Sentinels themselves.
func TestRightsWithSentinels(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	sentinel := redistest.StartSentinels(t, 1, master)[0]
	const right = "+sentinel|get-master-addr-by-name"
	if text := must(os.ReadFile("../../docs/operations.md"))(t); !strings.Contains(string(text), "`-@all "+right+"`") {
		t.Errorf("docs/operations.md does not name %s", right)
	}
	mc, sc := master.Conn(0), sentinel.Conn(0)
	setuser := []any{"SETUSER"}
	for _, word := range (prefixes{"acme:", "team"}).apply(recipe(t, 0)) {
		setuser = append(setuser, word)
	}
	do(t, mc, "ACL", setuser...)
	do(t, sc, "ACL", "SETUSER", "watcher", "on", ">secret", "-@all", right)
	w, stop := runWorker(t, redis.Config{
		URL: fmt.Sprintf("sentinel://evently:secret@%s/0", sentinel.Addr), SentinelMaster: "mymaster",
		SentinelUsername: "watcher", SentinelPassword: "secret", KeyPrefix: "acme:", ResultKeyPrefix: "team",
	}, worker.Config{Queues: []string{"email_notifications"}, Tasks: nothing()})
	id := send(t, mc, "acme:email_notifications", "nothing", "[]")
	eventually(t, "the task is done", func() bool {
		n, err := redigo.Int(mc.Do("EXISTS", "team_celery-task-meta-"+id))
		return err == nil && n == 1 && w.Status().Succeeded == 1
	})
	asked := regexp.MustCompile(`age=[1-9].* idle=0 .* cmd=sentinel\|get-master-addr-by-name user=watcher`)
	eventually(t, "the Sentinel is asked again and again", func() bool {
		return asked.MatchString(must(redigo.String(sc.Do("CLIENT", "LIST")))(t))
	})
	stop()
	for name, c := range map[string]redigo.Conn{"master": mc, "sentinel": sc} {
		for _, entry := range must(redigo.Values(c.Do("ACL", "LOG")))(t) {
			t.Errorf("%s denied: %s", name, entry)
		}
	}
}
