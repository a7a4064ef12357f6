package cli_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// testMonitor starts the monitor in each way that there is, as itself and inside of a worker.
func testMonitor(t *testing.T, p binary) {
	server := testkit.StartRedis(t)
	for name, way := range map[string]struct {
		env  string
		args []string
	}{
		"command":              {"MONITOR=off", []string{"monitor"}},
		"flag of the old days": {"MONITOR=off", []string{"--monitor"}},
		"flag of run":          {"MONITOR=off", []string{"run", "--monitor"}},
		"embedded":             {"MONITOR=embedded", []string{"run"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := "127.0.0.1:" + testkit.FreePort(t)
			cmd := p.command(t, []string{
				"REDIS_URL=" + server.URL(), "HEALTH_ADDR=off", "LEDGER_DATABASE_URL=off", "MONITOR_ADDR=" + address, way.env,
			}, way.args...)
			var log bytes.Buffer // read after Wait
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			ask := func(path string) (int, string) {
				resp, err := client.Get("http://" + address + path)
				if err != nil {
					return 0, err.Error()
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					return 0, err.Error()
				}
				return resp.StatusCode, string(body)
			}
			testkit.Eventually(t, time.Minute, "the monitor answers", func() bool { status, _ := ask("/healthcheck"); return status == http.StatusOK })
			for path, want := range map[string]string{"/": "What should I look at?", "/workers": "Workers", "/healthcheck": "OK"} {
				if status, body := ask(path); status != http.StatusOK || !strings.Contains(body, want) {
					t.Errorf("%s: status %d, without %q:\n%s", path, status, want, body)
				}
			}
			if out, errs, code := p.run(t, []string{"MONITOR_ADDR=" + address}, "health", "--monitor"); code != 0 || !strings.Contains(out, "the monitor answers") {
				t.Errorf("health --monitor: exit code %d, %q, %q", code, out, errs)
			}
			if name == "embedded" {
				testkit.Eventually(t, time.Minute, "it shows the worker that it runs in", func() bool { _, body := ask("/workers"); return strings.Contains(body, "email-worker@") })
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v\n%s", err, log.String())
			}
		})
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, wrong := range []struct {
		address, say string
		code         int
	}{
		{l.Addr().String(), "another process listens on", 1},
		{"0.0.0.0:" + testkit.FreePort(t), "MONITOR_USERS", 2},
		{"off", "MONITOR_ADDR is off", 2},
	} {
		_, errs, code := p.run(t, []string{"REDIS_URL=" + server.URL(), "MONITOR_ADDR=" + wrong.address}, "monitor")
		if code != wrong.code || !strings.Contains(errs, wrong.say) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", wrong.address, code, wrong.code, wrong.say, errs)
		}
	}
}
