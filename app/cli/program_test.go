package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// canary is a secret that no output may have.
const canary = "cAnArY-9f3"

// TestProgram runs the program as a shell would.
func TestProgram(t *testing.T) {
	t.Parallel()
	p := buildProgram(t)
	t.Run("help", func(t *testing.T) { t.Parallel(); testHelp(t, p) })
	t.Run("usage", func(t *testing.T) { t.Parallel(); testUsage(t, p) })
	t.Run("version", func(t *testing.T) { t.Parallel(); testVersion(t, p) })
	t.Run("completion", func(t *testing.T) { t.Parallel(); testCompletion(t, p) })
	t.Run("manual page", func(t *testing.T) { t.Parallel(); testManualPage(t, p) })
	t.Run("systemd", func(t *testing.T) { t.Parallel(); testSystemd(t, p) })
	t.Run("monitor", func(t *testing.T) { t.Parallel(); testMonitor(t, p) })
	t.Run("monitor user", func(t *testing.T) { t.Parallel(); testMonitorUser(t, p) })
	t.Run("configuration", func(t *testing.T) { t.Parallel(); testConfiguration(t, p) })
	t.Run("verdicts", func(t *testing.T) { t.Parallel(); testVerdicts(t, p) })
	t.Run("terminal", func(t *testing.T) { t.Parallel(); testTerminal(t, p) })
	t.Run("stop", func(t *testing.T) { t.Parallel(); testStop(t, p) })
	t.Run("port taken", func(t *testing.T) { t.Parallel(); testPortTaken(t, p) })
	t.Run("second signal", func(t *testing.T) { t.Parallel(); testSecondSignal(t, p) })
	t.Run("signals", func(t *testing.T) { t.Parallel(); testSignals(t, p) })
	t.Run("database", func(t *testing.T) { t.Parallel(); testDatabase(t, p) })
	t.Run("slow connections", func(t *testing.T) { t.Parallel(); testSlowConnections(t, p) })
	t.Run("relay", func(t *testing.T) { t.Parallel(); testRelay(t, p) })
	t.Run("Celery settings", func(t *testing.T) { t.Parallel(); testCelerySettings(t, p) })
	t.Run("cluster", func(t *testing.T) { t.Parallel(); testCluster(t, p) })
	t.Run("Zero", func(t *testing.T) { t.Parallel(); testZero(t, p) })
	t.Run("Zero unavailable", func(t *testing.T) { t.Parallel(); testZeroUnavailable(t, p) })
	t.Run("deliveries", func(t *testing.T) { t.Parallel(); testDeliveries(t, p) })
	t.Run("no history", func(t *testing.T) { t.Parallel(); testNoHistory(t, p) })
	t.Run("bounces", func(t *testing.T) { t.Parallel(); testBounces(t, p) })
	t.Run("suppressions", func(t *testing.T) { t.Parallel(); testSuppressions(t, p) })
	t.Run("dead letters", func(t *testing.T) { t.Parallel(); testDeadLetters(t, p) })
	t.Run("repair desk", func(t *testing.T) { t.Parallel(); testDesk(t, p) })
	t.Run("bulk", func(t *testing.T) { t.Parallel(); testBulk(t, p) })
	t.Run("edited letters", func(t *testing.T) { t.Parallel(); testEditedLetters(t, p) })
}

// binary is the path of the built program.
type binary string

func buildProgram(t *testing.T) binary {
	t.Helper()
	file := filepath.Join(t.TempDir(), "evently-workers")
	build := exec.CommandContext(t.Context(), "go", "build", "-race", "-o", file, "../..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return binary(file)
}

// command makes a command in an environment of its own, with an end.
func (p binary) command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // of a machine that does much else
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, string(p), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), testkit.RaceOptions}, env...)
	return cmd
}

// run returns what a command wrote, and its exit code.
func (p binary) run(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := p.command(t, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("%v: %v", cmd, err)
	}
	if both := out.String() + errs.String(); strings.Contains(both, canary) || strings.Contains(both, "\x1b") || strings.Contains(both, "DATA RACE") {
		t.Errorf("%q prints a secret, a colour or a race:\n%s", args, both)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("../../testdata/program", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), go test -update rewrites it:\n%s", name, diff)
	}
}

func testHelp(t *testing.T, p binary) {
	for name, args := range map[string][]string{
		"help-audit": {"audit", "--help"}, "help-audit-list": {"audit", "list", "--help"},
		"help-audit-verify": {"audit", "verify", "--help"}, "help-audit-export": {"audit", "export", "--help"},
		"help": {"--help"}, "help-config": {"config", "--help"}, "help-health": {"health", "--help"}, "help-doctor": {"doctor", "--help"},
		"help-dev": {"dev", "--help"}, "help-monitor": {"monitor", "--help"}, "help-version": {"version", "--help"}, "help-dead-letters": {"dead-letters", "--help"},
		"help-dead-letters-list": {"dead-letters", "list", "--help"}, "help-dead-letters-show": {"dead-letters", "show", "--help"},
		"help-dead-letters-causes": {"dead-letters", "causes", "--help"}, "help-dead-letters-edit": {"dead-letters", "edit", "--help"},
		"help-dead-letters-resolve": {"dead-letters", "resolve", "--help"}, "help-dead-letters-reopen": {"dead-letters", "reopen", "--help"},
		"help-dead-letters-retry": {"dead-letters", "retry", "--help"}, "help-dead-letters-delete": {"dead-letters", "delete", "--help"},
		"help-run": {"run", "--help"}, "help-was-it-sent": {"was-it-sent", "--help"}, "help-deliveries": {"deliveries", "--help"},
		"help-deliveries-list": {"deliveries", "list", "--help"}, "help-deliveries-show": {"deliveries", "show", "--help"},
		"help-deliveries-stats": {"deliveries", "stats", "--help"}, "help-deliveries-erase": {"deliveries", "erase", "--help"},
		"help-bounces": {"bounces", "--help"}, "help-bounces-list": {"bounces", "list", "--help"}, "help-bounces-show": {"bounces", "show", "--help"},
		"help-bounces-ingest": {"bounces", "ingest", "--help"}, "help-bounces-webhook-url": {"bounces", "webhook-url", "--help"},
		"help-suppressions": {"suppressions", "--help"}, "help-suppressions-list": {"suppressions", "list", "--help"}, "help-suppressions-show": {"suppressions", "show", "--help"},
		"help-suppressions-add": {"suppressions", "add", "--help"}, "help-suppressions-release": {"suppressions", "release", "--help"},
		"help-suppressions-import": {"suppressions", "import", "--help"}, "help-suppressions-export": {"suppressions", "export", "--help"},
		"help-monitor-user": {"monitor-user", "--help"}, "help-completion": {"completion", "--help"}, "help-man": {"man", "--help"},
		"help-top":       {"top", "--help"},
		"help-templates": {"templates", "--help"}, "help-templates-preview": {"templates", "preview", "--help"},
		"help-templates-lint": {"templates", "lint", "--help"}, "help-templates-export": {"templates", "export", "--help"},
		"help-ledger": {"ledger", "--help"}, "help-ledger-status": {"ledger", "status", "--help"}, "help-ledger-migrations": {"ledger", "migrations", "--help"},
	} {
		out, errs, code := p.run(t, nil, args...)
		if code != 0 || errs != "" {
			t.Errorf("%q: exit code %d, on stderr %q", args, code, errs)
		}
		if !strings.Contains(out, "Example") && name != "help-version" {
			t.Errorf("%q has no examples", args)
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%q has a line of %d columns: %s", args, n, line)
			}
		}
		golden(t, name+".golden", out)
	}
}

func testUsage(t *testing.T, p binary) {
	for _, test := range []struct {
		args []string
		has  string
	}{
		{[]string{"frobnicate"}, "frobnicate"},
		{[]string{"--frobnicate"}, "--frobnicate"},
		{[]string{"config", "--frobnicate"}, "evently-workers config --help"},
		{[]string{"config", "--json", "--markdown"}, "can't be used together"},
		{[]string{"dead-letters"}, "list"},
		{[]string{"dead-letters", "show"}, "<id>"},
		{[]string{"dead-letters", "retry"}, "--all"},
		{[]string{"dead-letters", "delete", "--all", "x"}, "--all"},
		{[]string{"dead-letters", "list", "--limit", "0"}, "--limit"},
		{[]string{"health", "--timeout", "soon"}, "--timeout"},
		{[]string{"was-it-sent"}, "name an address"},
		{[]string{"was-it-sent", " "}, "name an address"},
		{[]string{"deliveries", "list", "--state", "sent"}, "use queued, sending"},
		{[]string{"deliveries", "list", "--since", "soon"}, "2h or 7d"},
		{[]string{"deliveries", "list", "--since", "1h", "--until", "2h"}, "before --until"},
		{[]string{"deliveries", "list", "--address", "ada"}, "--domain"},
		{[]string{"deliveries", "list", "--user", "ada"}, "--user"},
		{[]string{"deliveries", "erase"}, "--address"},
		{[]string{"suppressions", "list", "--class", "spam"}, "use operator, bad_address"},
		{[]string{"suppressions", "list", "--limit", "0"}, "--limit"},
		{[]string{"suppressions", "add", "ann@b.example"}, "--reason"},
		{[]string{"suppressions", "add", "ann@b.example", "--reason", " "}, "say why"},
		{[]string{"suppressions", "add", "ann@b.example", "--reason", "x", "--until", "soon"}, "12h or 30d"},
		{[]string{"suppressions", "release", "--reason", "x"}, "--domain"},
		{[]string{"suppressions", "release", "ann@b.example", "--class", "unknown", "--reason", "x"}, "--domain"},
		{[]string{"suppressions", "import", "/nowhere.csv", "--reason", "x"}, "/nowhere.csv"},
	} {
		out, errs, code := p.run(t, nil, test.args...)
		if code != 2 || out != "" || !strings.Contains(errs, test.has) {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q; want 2, nothing and %q", test.args, code, out, errs, test.has)
		}
		if strings.Count(errs, "\n") > 3 {
			t.Errorf("%q: more than a few lines on stderr:\n%s", test.args, errs)
		}
	}
}

func testVersion(t *testing.T, p binary) {
	out, errs, code := p.run(t, nil, "version")
	if fields := strings.Fields(out); code != 0 || errs != "" || len(fields) < 3 || fields[0] != "evently-workers" || !strings.Contains(out, "go1.") {
		t.Errorf("version: exit code %d, %q, %q", code, out, errs)
	}
	testVersionJSON(t, p)
}

func testConfiguration(t *testing.T, p binary) {
	bad := []string{
		"CONCURRENCY=four", "SMTP_PORT=0", "REDIS_URL=http://u:" + canary + "@h", "DATABASE_URL=" + canary,
		"SMTP_PASSWORD=" + canary, "RETRY_DELAY=soon",
	}
	for _, args := range [][]string{{}, {"run"}, {"config"}, {"config", "--json"}, {"dead-letters", "list"}} {
		out, errs, code := p.run(t, bad, args...)
		if code != 2 || out != "" {
			t.Errorf("%q with mistakes: exit code %d, stdout %q", args, code, out)
		}
		golden(t, "bad-configuration.golden", errs)
	}
	// Docker reserves 2: a health check fails with 1. A worker may listen on the
	// default port of this machine, so that one must not be asked.
	if _, errs, code := p.run(t, append(bad, "HEALTH_ADDR=8004"), "health"); code != 1 || !strings.Contains(errs, "no worker can run here") {
		t.Errorf("health with mistakes: exit code %d, %q; want 1", code, errs)
	}

	// The HEALTHCHECK of the image is there with any configuration.
	if out, errs, code := p.run(t, []string{"MONITOR_ADDR=off"}, "health", "--monitor"); code != 0 || !strings.Contains(out, "MONITOR_ADDR is off") || errs != "" {
		t.Errorf("health of a monitor that is off: exit code %d, %q, %q", code, out, errs)
	}
	if _, errs, code := p.run(t, []string{"MONITOR_ADDR=127.0.0.1:1"}, "health", "--monitor"); code != 1 || !strings.Contains(errs, "does the monitor run?") {
		t.Errorf("health of a monitor that is away: exit code %d, %q", code, errs)
	}
	if out, errs, code := p.run(t, []string{"HEALTH_ADDR=off"}, "health"); code != 0 || !strings.Contains(out, "HEALTH_ADDR is off") || errs != "" {
		t.Errorf("health that is off: exit code %d, %q, %q", code, out, errs)
	}

	good := []string{
		"REDIS_URL=rediss://u:" + canary + "@redis:6380/1", "SMTP_PASSWORD=" + canary, "SMTP_USERNAME=mailer",
		"DB_PASSWORD=" + canary, "WORKER_NAME=email-worker@host", "AUTOSCALE=10,3",
		"MONITOR_ADDR=127.0.0.1:5556", "HEALTH_PPROF=all",
	}
	out, errs, code := p.run(t, good, "config")
	if code != 0 {
		t.Errorf("config: exit code %d", code)
	}
	golden(t, "config.golden", out)
	golden(t, "config-warnings.golden", errs)

	out, _, code = p.run(t, good, "config", "--json")
	var report struct {
		Variables []struct{ Variable, Value, Source, Default string }
		Warnings  []struct{ Variable, Text string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || len(report.Variables) < 50 || len(report.Warnings) != 1 {
		t.Errorf("config --json: exit code %d, %v, %s", code, err, out)
	}
	if out, _, code := p.run(t, bad, "config", "--markdown"); code != 0 || !strings.Contains(out, "| `REDIS_HOST` |") {
		t.Errorf("config --markdown: exit code %d, %s", code, out)
	}
}

// live is the program while it runs.
type live struct {
	t   *testing.T
	cmd *exec.Cmd
	url string // of the health server

	mu  sync.Mutex
	log bytes.Buffer
}

func (l *live) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(b)
}

func (l *live) output() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.String()
}

// start runs the program with a health server on a free port.
func (p binary) start(t *testing.T, env ...string) *live {
	t.Helper()
	return p.startAs(t, func(*exec.Cmd) {}, env...)
}

// startAs does so with a command that change has seen.
func (p binary) startAs(t *testing.T, change func(*exec.Cmd), env ...string) *live {
	t.Helper()
	addr := freeAddr(t)
	l := &live{t: t, url: "http://" + addr}
	l.cmd = p.command(t, append(env, "HEALTH_ADDR="+addr))
	l.cmd.Stdout, l.cmd.Stderr = l, l
	change(l.cmd)
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
		if t.Failed() {
			t.Logf("the program said:\n%s", l.output())
		}
	})
	return l
}

// answers polls a page until it has that status.
func (l *live) answers(path string, code int) {
	l.t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	last := "no answer"
	eventually(l.t, "GET "+path, func() bool {
		resp, err := client.Get(l.url + path)
		if err != nil {
			return false
		}
		resp.Body.Close()
		last = resp.Status
		return resp.StatusCode == code
	}, &last)
}

// get returns what the health server answers.
func (l *live) get(path string) string {
	l.t.Helper()
	resp, err := http.Get(l.url + path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(body)
}

// signal sends a signal.
func (l *live) signal(s os.Signal) {
	l.t.Helper()
	if err := l.cmd.Process.Signal(s); err != nil {
		l.t.Fatal(err)
	}
}

// tells waits until the log has a text.
func (l *live) tells(text string) {
	l.t.Helper()
	last := ""
	eventually(l.t, text, func() bool { last = l.output(); return strings.Contains(last, text) }, &last)
}

// stop sends a signal and returns the exit code.
func (l *live) stop(s os.Signal) int {
	l.t.Helper()
	l.signal(s)
	_ = l.cmd.Wait() // the exit code says it all
	return l.cmd.ProcessState.ExitCode()
}

func eventually(t *testing.T, what string, ok func() bool, last *string) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited too long for: %s (%s)", what, *last)
		case <-tick.C:
		}
	}
}

// freeAddr returns an address of this machine without a listener.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Nothing that it needs is there: the program waits for it, says so, and stops
// in order.
func testStop(t *testing.T, p binary) {
	_, closed, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	l := p.start(t, "REDIS_URL=redis://:"+canary+"@127.0.0.1:"+closed, "DATABASE_URL=postgres://u:"+canary+"@127.0.0.1:"+closed+"/n",
		"SMTP_HOST=127.0.0.1", "SMTP_PORT="+closed, "SMTP_USERNAME=u", "SMTP_PASSWORD="+canary, "LOG_LEVEL=debug", "MONITOR_ADDR=127.0.0.1:1", "HEALTH_PPROF=local")
	l.answers("/livez", 200)
	l.answers("/readyz", 503)
	l.answers("/health/database", 503)
	l.answers("/debug/pprof/heap", 200)

	env := []string{"HEALTH_ADDR=" + strings.TrimPrefix(l.url, "http://")}
	out, errs, code := p.run(t, env, "health")
	if code != 1 || !strings.Contains(out, "unhealthy; worker running; queue no answer") || errs != "" {
		t.Errorf("health: exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	out, _, code = p.run(t, env, "health", "--json")
	var report struct{ Status string }
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Status != "unhealthy" || code != 1 {
		t.Errorf("health --json: exit code %d, %v, %s", code, err, out)
	}
	if code := l.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	log := l.output()
	if strings.Contains(log, canary) {
		t.Error("a secret is in the log")
	}
	for line := range strings.Lines(log) {
		var entry struct{ Error string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("not JSON: %s", line)
		}
		checkChain(t, entry.Error)
	}
	for _, want := range []string{"worker starts", "worker stopped"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not tell %q", want)
		}
	}
	out, errs, code = p.run(t, env, "health")
	if code != 1 || out != "" || !strings.Contains(errs, "no answer from 127.0.0.1:") {
		t.Errorf("health after the stop: exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	checkChain(t, errs)
	out, errs, code = p.run(t, env, "health", "--addr", "10.0.0.7")
	if code != 2 || out != "" || !strings.Contains(errs, "write host:port") {
		t.Errorf("health of no port: exit code %d, stdout %q, stderr %q", code, out, errs)
	}
}

// checkChain looks for a part of an error that is said twice.
func checkChain(t *testing.T, text string) {
	t.Helper()
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(strings.TrimSpace(text), ": ") {
		if seen[part] {
			t.Errorf("an error says %q twice: %s", part, text)
		}
		seen[part] = true
	}
	for _, verb := range []string{"dial tcp", "listen tcp", "connect: "} {
		if strings.Contains(text, verb) && strings.Contains(text, "redis") {
			t.Errorf("an error about Redis says %q besides: %s", verb, text)
		}
	}
}

func testPortTaken(t *testing.T, p binary) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, errs, code := p.run(t, []string{"HEALTH_ADDR=" + l.Addr().String()}, "run")
	if code != 1 || !strings.Contains(errs, "another process listens on "+l.Addr().String()) {
		t.Errorf("exit code %d, %q", code, errs)
	}
}
