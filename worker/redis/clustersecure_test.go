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

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// onAll sends a command to all nodes.
func onAll(t *testing.T, cluster *redistest.Cluster, command string, args ...any) {
	t.Helper()
	for _, n := range cluster.Nodes {
		do(t, n.Conn(0), command, args...)
	}
}

// TestSecureCluster runs a worker in a cluster that speaks TLS only, as a user of the recipe,
// through each sort of announced endpoint and the replacement of the password.
func TestSecureCluster(t *testing.T) {
	t.Parallel()
	ca := redistest.NewAuthority(t, "Our CA")
	cluster := redistest.ClusterConfig{Masters: 3, Replicas: true, Authority: ca}.Start(t)
	setuser := []any{"SETUSER"}
	for _, word := range (prefixes{tag, tag}).apply(recipe(t, 0)) {
		setuser = append(setuser, word)
	}
	onAll(t, cluster, "ACL", append(setuser, "+cluster|slots")...)

	var password atomic.Pointer[string]
	rotate := func(p string) { password.Store(&p) }
	rotate("secret")
	cfg := clusterConfig(cluster)
	cfg.URL = strings.Replace(cfg.URL, "redis://", "rediss://", 1) + sslParams(ca.File, ca.Issue("client", time.Now().Add(time.Hour)))
	cfg.OwnerTimeout = 5 * time.Second
	cfg.Credentials = redis.CredentialFunc(func(context.Context) (redis.Credentials, error) {
		return redis.Credentials{Username: "evently", Password: *password.Load()}, nil
	})
	l := &load{t: t, cluster: cluster, queue: "email_notifications", runs: map[int]int{}}
	w, _ := runWorker(t, cfg, worker.Config{Concurrency: 4, Queues: []string{l.queue}, Tasks: map[string]worker.Definition{"count": {Handler: worker.Func(l.handle)}}})
	ctx, stop := context.WithCancel(t.Context())
	var producing sync.WaitGroup
	producing.Go(func() { l.produce(ctx) })
	defer func() { stop(); producing.Wait() }()
	l.next()

	onAll(t, cluster, "CONFIG", "SET", "cluster-announce-hostname", "localhost")
	for _, endpoint := range []string{"hostname", "unknown-endpoint"} {
		onAll(t, cluster, "CONFIG", "SET", "cluster-preferred-endpoint-type", endpoint)
		cluster.WaitWhole() // after the last failover
		cluster.Failover(tag)
		t.Logf("failover with the endpoint type %s: a new task is done after %v", endpoint, l.next().Round(time.Millisecond))
		// Another one begins here, and asks one node.
		one := cfg
		one.URL, one.Logger = strings.Replace(cfg.URL, ",", "?", 1), quiet()
		host, query, _ := strings.Cut(one.URL, "?")
		one.URL = host + "/0" + query[strings.Index(query, "?"):]
		b := must(redis.New(one))(t)
		if err := b.Broadcast(t.Context(), nil); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
		if want := map[string]string{"hostname": "localhost:"}[endpoint]; !strings.Contains(b.Server(), want) {
			t.Errorf("%s: %s, want it at %q", endpoint, b.Server(), want)
		}
		b.Close()
	}

	// The servers know the new password before the worker does.
	onAll(t, cluster, "ACL", "SETUSER", "evently", "resetpass", ">another")
	onAll(t, cluster, "CLIENT", "KILL", "USER", "evently")
	l.more()
	rotate("another")
	t.Logf("password replaced: a new task is done after %v", l.next().Round(time.Millisecond))
	stop()
	producing.Wait()
	all, twice := l.settled()
	t.Logf("%d tasks, 0 lost, %d ran more than once", all, twice)
	if s := w.Status(); s.State != worker.StateRunning || s.Retried != 0 {
		t.Errorf("worker is %v, %d tasks retried: %s", s.State, s.Retried, s.Fault)
	}
	for _, n := range cluster.Nodes {
		for _, entry := range must(redigo.Values(n.Conn(0).Do("ACL", "LOG")))(t) {
			if text := fmt.Sprintf("%s", entry); !strings.Contains(text, "reason auth") {
				t.Errorf("denied: %s", text)
			}
		}
	}
}
