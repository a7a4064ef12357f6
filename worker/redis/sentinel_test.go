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

	"github.com/evently/workers/internal/tlsfiles"
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

// TestSentinelsWithTLS finds a master behind Sentinels that want TLS, a client certificate and a
// password, as the master does. One Sentinel of the URL is down and another one names a server
// that is no master.
func TestSentinelsWithTLS(t *testing.T) {
	t.Parallel()
	ca := redistest.NewAuthority(t, "Our CA")
	soon := time.Now().Add(time.Hour)
	pair, client := ca.Issue("server", soon, "127.0.0.1"), ca.Issue("client", soon)
	files := []string{"--tls-cert-file", pair.Cert, "--tls-key-file", pair.Key, "--tls-ca-cert-file", ca.File, "--tls-auth-clients", "yes"}
	tlsOn := func(port int) []string { return append([]string{"--tls-port", fmt.Sprint(port)}, files...) }
	port, replicaPort, sentinelPort, liarPort := redistest.FreePort(t), redistest.FreePort(t), redistest.FreePort(t), redistest.FreePort(t)
	master := redistest.Start(t, tlsOn(port)...)
	// Its master does not exist: it is a replica, and refuses writes.
	replica := redistest.Start(t, append(tlsOn(replicaPort), "--replicaof", "127.0.0.1", "1")...)
	honest := redistest.StartSentinels(t, 1, master, tlsOn(sentinelPort)...)[0]
	liar := redistest.StartSentinels(t, 1, replica, tlsOn(liarPort)...)[0]
	mc := master.Conn(0)
	do(t, mc, "CONFIG", "SET", "requirepass", "of-the-master")
	do(t, replica.Conn(0), "CONFIG", "SET", "requirepass", "of-the-master")
	for s, of := range map[*redistest.Server]int{honest: port, liar: replicaPort} {
		c := s.Conn(0)
		do(t, c, "SENTINEL", "REMOVE", "mymaster")
		do(t, c, "SENTINEL", "MONITOR", "mymaster", "127.0.0.1", of, 1)
		do(t, c, "ACL", "SETUSER", "watcher", "on", ">of-the-sentinel", "-@all", "+sentinel|get-master-addr-by-name")
		do(t, c, "ACL", "SETUSER", "default", "resetpass") // no login without a password
	}
	secure := tlsfiles.Files{CA: ca.File, Cert: client.Cert, Key: client.Key}
	at := func(port int) string { return fmt.Sprintf("sentinel://:of-the-master@127.0.0.1:%d", port) }
	cfg := redis.Config{
		URL:            fmt.Sprintf("sentinel://:of-the-master@127.0.0.1:1;sentinel://127.0.0.1:%d;sentinel://127.0.0.1:%d/0", liarPort, sentinelPort),
		SentinelMaster: "mymaster", SentinelUsername: "watcher", SentinelPassword: "of-the-sentinel",
		TLS: must(secure.Config())(t),
	}
	runWorker(t, cfg, worker.Config{Tasks: nothing()})
	id := send(t, mc, "q", "nothing", "[]")
	eventually(t, "a task is done", func() bool { return result(t, mc, id).Status == "SUCCESS" })

	for name, wrong := range map[string]struct {
		change func(*redis.Config)
		want   string
	}{
		"name":                    {func(c *redis.Config) { c.SentinelMaster = "theirs" }, `no master of the name "theirs" is known`},
		"all down":                {func(c *redis.Config) { c.URL = "sentinel://127.0.0.1:1" }, "sentinel 127.0.0.1:1: connection refused"},
		"a lie":                   {func(c *redis.Config) { c.URL = at(liarPort) }, "says that it is a slave"},
		"password of a Sentinel":  {func(c *redis.Config) { c.URL = at(sentinelPort); c.SentinelPassword = "wrong" }, "WRONGPASS"},
		"password of the master":  {func(c *redis.Config) { c.URL = strings.Replace(at(sentinelPort), "of-the-master", "wrong", 1) }, "WRONGPASS"},
		"no client certificate":   {func(c *redis.Config) { c.URL = at(sentinelPort); c.TLS = must(tlsfiles.Files{CA: ca.File}.Config())(t) }, "wants a client certificate"},
		"authority of a Sentinel": {func(c *redis.Config) { c.URL = at(sentinelPort); c.TLS = must(tlsfiles.Files{}.Config())(t) }, "unknown authority (CN=Our CA)"},
		"no TLS":                  {func(c *redis.Config) { c.URL = at(sentinelPort); c.TLS = nil }, "is its port one for TLS?"},
	} {
		c := cfg
		c.Logger = quiet()
		wrong.change(&c)
		b := must(redis.New(c))(t)
		_, err := b.Backlog(t.Context(), "s")
		b.Close()
		if err == nil || !strings.Contains(err.Error(), wrong.want) {
			t.Errorf("wrong %s: %v, want %q", name, err, wrong.want)
		}
	}
}
