package cli_test

import (
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker/redis/redistest"
)

// testCelerySettings runs the program beside Celery with the same URL and the same
// prefixes: Celery reads the result, and no key lacks its prefix.
func testCelerySettings(t *testing.T, p binary) {
	server := redistest.Start(t)
	c := server.Conn(0)
	const password = `a^b|"c d@e:f` + canary
	for _, user := range [][]any{
		{"SETUSER", "open", "on", "nopass", "~acme:*", "~team_*", "allchannels", "+@all"},
		{"SETUSER", "app", "on", ">" + password, "~acme:*", "~team_*", "allchannels", "+@all"},
		{"SETUSER", "default", "on", "resetpass", ">" + canary},
	} {
		if _, err := c.Do("ACL", user...); err != nil {
			t.Fatal(err)
		}
	}
	const script = `import sys
from celery import Celery
app = Celery(broker=sys.argv[1], backend=sys.argv[1])
app.conf.broker_transport_options = {"global_keyprefix": "acme:"}
app.conf.result_backend_transport_options = {"global_keyprefix": "team"}
print(app.send_task("email_workers.tasks.health_check", queue="email_notifications").get(timeout=30)["service"])`
	for _, login := range []string{"open", "app:" + password} {
		url := "redis://" + login + "@" + server.Addr + "/0"
		l := p.start(t, "REDIS_URL="+url, "REDIS_KEY_PREFIX=acme:", "REDIS_RESULT_KEY_PREFIX=team", "DB_HOST=127.0.0.1", "DB_PORT=1", "SMTP_HOST=127.0.0.1", "SMTP_PORT=1")
		l.answers("/readyz", http.StatusOK)
		cmd := exec.CommandContext(t.Context(), testkit.Python(t, testkit.CeleryNew), "-c", script, url)
		cmd.Env = testkit.PythonEnv()
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "email_workers" {
			t.Errorf("Celery with the URL of %.4s: %v\n%s", login, err, out)
		}
		if code := l.stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if out := l.output(); strings.Contains(out, "NOPERM") || strings.Contains(out, canary) {
			t.Errorf("the log has a missing right or the password:\n%s", out)
		}
	}
}
