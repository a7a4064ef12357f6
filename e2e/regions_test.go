package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
)

// regions is one worker with a broker in each of three regions.
type regions struct {
	t      testing.TB
	redis  map[string]*redisServer
	env    []string
	worker *process
	health string
	pushed int
}

func startRegions(t *testing.T) *regions {
	t.Helper()
	relay := smtptest.New(t, smtptest.Options{Script: func(smtptest.Step) smtptest.Action {
		time.Sleep(5 * time.Millisecond) // the rate depends on the relay
		return smtptest.Action{}
	}})
	r := &regions{t: t, redis: map[string]*redisServer{}, health: "http://127.0.0.1:"}
	var urls []string
	for _, name := range []string{"eu", "us", "ap"} {
		r.redis[name] = startRedis(t)
		urls = append(urls, name+"="+r.redis[name].url())
	}
	port := freePort(t)
	r.health += port
	host, relayPort, _ := strings.Cut(relay.Addr(), ":")
	r.env = []string{
		"REDIS_URLS=" + strings.Join(urls, " "), "SMTP_HOST=" + host, "SMTP_PORT=" + relayPort, "SMTP_TLS_MODE=none",
		"LEDGER_DATABASE_URL=sqlite:" + filepath.Join(t.TempDir(), "history.db"), "LEDGER_KEY=0123456789abcdef0123456789abcdef",
		"HEALTH_ADDR=127.0.0.1:" + port, "DB_PORT=" + freePort(t), "DB_HOST=127.0.0.1",
	}
	return r
}

func (r *regions) get(path string) (status int, text string) {
	client := &http.Client{Timeout: 2 * time.Second}
	reply, err := client.Get(r.health + path)
	if err != nil {
		return 0, err.Error()
	}
	defer reply.Body.Close()
	raw, _ := io.ReadAll(reply.Body)
	return reply.StatusCode, string(raw)
}

// push publishes welcome mails in a region, and returns the ids of their tasks.
func (r *regions) push(region string, n int) (ids []string) {
	r.t.Helper()
	for range n {
		r.pushed++
		m := &protocol.Message{
			Protocol: 2, ID: fmt.Sprintf("6f2b9a51-1d9c-4a8c-a0c3-%012d", r.pushed), Task: prefix + tasks.NameWelcome,
			Args: protocol.Raw(fmt.Sprintf(`[{"email": "p%d@example.com"}]`, r.pushed)), Kwargs: protocol.Raw(`{}`),
			DeliveryTag: fmt.Sprintf("7d1f2c3a-8f5b-4f6b-9b6e-%012d", r.pushed), RoutingKey: queue,
		}
		raw, err := protocol.Encode(m)
		if err != nil {
			r.t.Fatal(err)
		}
		r.redis[region].do("LPUSH", queue, raw)
		ids = append(ids, m.ID)
	}
	return ids
}

// await waits until the results of the tasks are in the broker of their region, and returns how
// long that took.
func (r *regions) await(region string, ids []string) time.Duration {
	r.t.Helper()
	begin := time.Now()
	eventually(r.t, time.Minute, fmt.Sprintf("%d tasks of %s are done", len(ids), region), func() bool {
		done := 0
		for _, result := range r.redis[region].results(ids) {
			if result.Status == "SUCCESS" {
				done++
			}
		}
		return done == len(ids)
	})
	return time.Since(begin)
}

// command runs a command of the program with the environment of the worker.
func (r *regions) command(args ...string) (code int, out string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), bin.service, args...)
	cmd.Env = append(os.Environ(), r.env...)
	raw, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(raw)
}

// TestRegions takes brokers of one worker away, one by one: the others go on at their rate, and
// each works again when it is back.
func TestRegions(t *testing.T) {
	t.Parallel()
	const mails = 80
	r := startRegions(t)
	eu, us, ap := r.redis["eu"], r.redis["us"], r.redis["ap"]

	// One region is down at the start.
	ap.proc.kill()
	r.worker = start(t, "worker of all regions", r.env, bin.service, "run")
	eventually(t, 30*time.Second, "the worker is ready without ap", func() bool {
		status, _ := r.get("/readyz")
		return status == http.StatusOK
	})
	whole := r.await("eu", r.push("eu", mails))
	r.await("us", r.push("us", mails))
	eventually(t, 30*time.Second, "health names ap", func() bool {
		_, text := r.get("/health/queue")
		return strings.Contains(text, "eu: consuming; us: consuming; ap: no answer")
	})
	if status, text := r.get("/health"); status != http.StatusOK || !strings.Contains(text, `"status": "degraded"`) {
		t.Errorf("/health: %d %s", status, text)
	}

	// It comes back, another region freezes, and the first one dies later.
	ap.start()
	r.await("ap", r.push("ap", 10))
	us.proc.signal(syscall.SIGSTOP)
	frozen := r.await("eu", r.push("eu", mails))
	eu.proc.kill()
	alone := r.await("ap", r.push("ap", mails))
	t.Logf("%d mails of one region: %s with eu and us, %s while us is frozen and ap is back, %s in ap alone", mails, whole, frozen, alone)
	if status, text := r.get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz with one of three brokers: %d %s", status, text)
	}
	eventually(t, 30*time.Second, "metrics name the brokers that are out", func() bool {
		_, text := r.get("/metrics")
		return strings.Contains(text, `evently_worker_consuming{broker="ap"} 1`) &&
			strings.Contains(text, `evently_worker_consuming{broker="us"} 0`) && strings.Contains(text, `evently_worker_consuming{broker="eu"} 0`)
	})

	eu.start()
	us.proc.signal(syscall.SIGCONT)
	r.await("us", r.push("us", 10))
	r.await("eu", r.push("eu", 10))

	r.checkCommands()

	// A frozen broker does not hold up a stop: it ends within the default of SHUTDOWN_GRACE.
	us.proc.signal(syscall.SIGSTOP)
	begin := time.Now()
	r.worker.signal(syscall.SIGTERM)
	if code := r.worker.wait(25 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("stopped in %s with a frozen broker", time.Since(begin).Round(time.Millisecond))
	us.proc.signal(syscall.SIGCONT)
}

// checkCommands looks at the commands that need one broker, or ask all.
func (r *regions) checkCommands() {
	r.t.Helper()
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"dead-letters list", 2, "REDIS_URLS has several brokers\nsay which one: --broker eu, or --broker us, or --broker ap"},
		{"dead-letters list --broker mars", 2, `there is no broker "mars": REDIS_URLS has eu, us, ap`},
		{"dead-letters list --broker ap", 0, "no open dead letters"},
		{"top --once", 2, "--broker eu"},
		{"was-it-sent p1@example.com --json", 0, "/eu"}, // the worker, with the broker of the task
	} {
		var code int
		var out string
		eventually(r.t, time.Minute, test.args, func() bool { // the history follows within seconds
			code, out = r.command(strings.Fields(test.args)...)
			return code == test.code && strings.Contains(out, test.want) || test.code != 0
		})
		if code != test.code || !strings.Contains(out, test.want) {
			r.t.Errorf("%s: exit code %d, %s; want %d, %s", test.args, code, out, test.code, test.want)
		}
	}
}
