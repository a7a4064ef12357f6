package cli_test

import (
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker/redis/redistest"
)

// testCluster runs the program in a Redis Cluster, beside Celery with the same prefix. Celery
// connects to the owner of the slot, and to the next owner after a failover.
func testCluster(t *testing.T, p binary) {
	cluster := redistest.StartCluster(t, 3, true)
	const prefix = "{celery}:"
	owner := cluster.Owner(prefix)
	seed := cluster.Nodes[0]
	if seed == owner {
		seed = cluster.Nodes[1]
	}
	l := p.start(t, "REDIS_CLUSTER=true", "REDIS_URL=redis://127.0.0.1:1,"+seed.Addr, "REDIS_KEY_PREFIX="+prefix,
		"DB_HOST=127.0.0.1", "DB_PORT=1", "SMTP_HOST=127.0.0.1", "SMTP_PORT=1")
	l.answers("/readyz", http.StatusOK)
	const script = `import sys
from celery import Celery, chord
app = Celery(broker=sys.argv[1], backend=sys.argv[1])
app.conf.broker_transport_options = app.conf.result_backend_transport_options = {"global_keyprefix": "{celery}:"}
app.conf.task_default_queue = "email_notifications"
check = app.signature("email_workers.tasks.health_check", immutable=True)
print(check.delay().get(timeout=30)["service"], len(chord([check, check], check)().get(timeout=30)) > 0)
print(sum(len(reply) for reply in app.control.ping(timeout=20, limit=1)))`
	celery := func(node *redistest.Server) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), testkit.Python(t, testkit.CeleryNew), "-c", script, node.URL(0))
		cmd.Env = testkit.PythonEnv()
		if out, err := cmd.CombinedOutput(); err != nil || strings.Join(strings.Fields(string(out)), " ") != "email_workers True 1" {
			t.Errorf("Celery: %v\n%s", err, out)
		}
	}
	celery(owner)
	l.shows("/health/queue", "Redis Cluster, the owner of the keys is "+owner.Addr)

	cluster.Failover(prefix)
	next := owner
	for deadline := time.Now().Add(time.Minute); next == owner || next == nil; next = cluster.Owner(prefix) {
		if time.Now().After(deadline) {
			t.Fatal("there is no other owner")
		}
		time.Sleep(20 * time.Millisecond)
	}
	celery(next)
	l.shows("/health/queue", "Redis Cluster, the owner of the keys is "+next.Addr)
	if code := l.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// A key outside the slot would be refused, by this word in the log.
	if out := l.output(); strings.Contains(out, "CROSSSLOT") || strings.Contains(out, "non local key") {
		t.Errorf("the log has a key outside the slot:\n%s", out)
	}
}
