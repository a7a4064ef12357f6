package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// heldMail is a mail whose relay does not answer the end of data until release.
type heldMail struct {
	t       *testing.T
	env     []string
	relay   *smtptest.Server
	redis   *redistest.Server
	begun   atomic.Bool
	release chan struct{}
}

func newHeldMail(t *testing.T) *heldMail {
	t.Helper()
	m := &heldMail{t: t, redis: redistest.Start(t), release: make(chan struct{})}
	m.relay = smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "." {
			m.begun.Store(true)
			select {
			case <-m.release:
			case <-t.Context().Done():
			}
		}
		return smtptest.Action{}
	}})
	raw, err := protocol.Encode(&protocol.Message{
		Protocol: 2, ID: "6f2b9a51-1d9c-4a8c-a0c3-3c3e5d0f1a14", Task: "send_welcome_email",
		Args:   protocol.Raw(`[{"email": "a@b.example"}]`),
		Kwargs: protocol.Raw(`{}`), DeliveryTag: "7d1f2c3a-8f5b-4f6b-9b6e-2b7a9d5c1e25", RoutingKey: "email_notifications",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.redis.Conn(0).Do("LPUSH", "email_notifications", raw); err != nil {
		t.Fatal(err)
	}
	m.env = []string{
		"REDIS_URL=" + m.redis.URL(0), "SMTP_HOST=127.0.0.1", fmt.Sprintf("SMTP_PORT=%d", m.relay.Port()), "SMTP_TLS_MODE=none",
		"DB_HOST=127.0.0.1", "DB_PORT=1", "MONITOR_ADDR=off", "SHUTDOWN_GRACE=600", "LOG_LEVEL=debug", "LOG_FORMAT=json",
	}
	return m
}

// await waits until the relay has the mail and owes the answer.
func (m *heldMail) await() {
	m.t.Helper()
	last := "no mail"
	eventually(m.t, "the end of data", m.begun.Load, &last)
}

// check looks whether the mail went out once and its message is acknowledged.
func (m *heldMail) check() {
	m.t.Helper()
	if n := len(m.relay.Mails()); n != 1 {
		m.t.Errorf("%d mails went out, want 1", n)
	}
	conn := m.redis.Conn(0)
	for _, command := range [][2]string{{"LLEN", "email_notifications"}, {"HLEN", "unacked"}, {"ZCARD", "unacked_index"}} {
		if n, err := conn.Do(command[0], command[1]); err != nil || n != int64(0) {
			m.t.Errorf("%s %s: %v, %v; want 0", command[0], command[1], n, err)
		}
	}
	if result, err := conn.Do("GET", "celery-task-meta-6f2b9a51-1d9c-4a8c-a0c3-3c3e5d0f1a14"); err != nil || !strings.Contains(fmt.Sprintf("%s", result), `"SUCCESS"`) {
		m.t.Errorf("result %s, %v", result, err)
	}
}

// ended waits for the end of the program and checks its exit code.
func (m *heldMail) ended(l *live) {
	m.t.Helper()
	_ = l.cmd.Wait() // the exit code says it all
	if code := l.cmd.ProcessState.ExitCode(); code != 0 {
		m.t.Errorf("exit code %d, want 0; %v", code, l.cmd.ProcessState)
	}
}

// testSignals sends the signals that a shell, a terminal, a supervisor or a
// person may send in the middle of a mail. None loses it or sends it twice.
func testSignals(t *testing.T, p binary) {
	const stopping = "stopping: finishing what runs"
	t.Run("hangup", func(t *testing.T) {
		t.Parallel()
		m := newHeldMail(t)
		l := p.start(t, m.env...)
		m.await()
		for range 3 { // one of the shell, one of the kernel, and one more
			l.signal(syscall.SIGHUP)
		}
		l.tells(stopping)
		l.signal(syscall.SIGTERM)
		l.answers("/livez", 200)
		l.answers("/readyz", 503)
		close(m.release)
		m.ended(l)
		m.check()
		if strings.Contains(l.output(), "stopping at once") {
			t.Error("a signal after SIGHUP has ended the grace period")
		}
	})
	t.Run("terminal closes", func(t *testing.T) {
		t.Parallel()
		m := newHeldMail(t)
		master, slave := openTerminal(t)
		cmd := p.command(t, append(m.env, "HEALTH_ADDR=off"))
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		m.await()
		master.Close()
		close(m.release)
		_ = cmd.Wait() // the exit code says it all
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit code %d, want 0; %v", code, cmd.ProcessState)
		}
		m.check()
	})
	t.Run("nohup", func(t *testing.T) {
		t.Parallel()
		m := newHeldMail(t)
		l := p.startAs(t, func(cmd *exec.Cmd) {
			cmd.Args = []string{"sh", "-c", `trap "" HUP; exec "$0"`, cmd.Path}
			cmd.Path = "/bin/sh"
		}, m.env...)
		m.await()
		l.signal(syscall.SIGHUP)
		l.signal(syscall.SIGUSR1)
		l.tells("stacks of all goroutines")
		if strings.Contains(l.output(), stopping) {
			t.Error("SIGHUP stops a worker that runs under nohup")
		}
		close(m.release)
		l.tells("mail sent")
		l.signal(syscall.SIGTERM)
		m.ended(l)
		m.check()
	})
	t.Run("templates", func(t *testing.T) {
		t.Parallel()
		server := testkit.StartRedis(t)
		for _, command := range []string{"run", "monitor"} {
			t.Run(command, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				env := []string{"REDIS_URL=" + server.URL(), "LEDGER_DATABASE_URL=off", "DB_HOST=127.0.0.1", "SMTP_HOST=127.0.0.1", "TEMPLATES_DIR=" + dir, "MONITOR_ADDR=127.0.0.1:0"}
				addr := freeAddr(t)
				l := &live{t: t, url: "http://" + addr}
				l.cmd = p.command(t, append(env, "HEALTH_ADDR="+addr), command)
				l.cmd.Stdout, l.cmd.Stderr = l, l
				l.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
				if err := l.cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if command == "run" {
					l.shows("/metrics", "evently_templates_faulty") // they were read
				}
				l.tells(map[string]string{"run": "worker starts", "monitor": "monitor listens"}[command])
				if err := os.WriteFile(filepath.Join(dir, "welcome.subject.tmpl"), []byte("Hello from {{.Brand}}\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				l.signal(syscall.SIGHUP)
				l.tells("templates replaced")
				if code := l.stop(syscall.SIGTERM); code != 0 {
					t.Errorf("exit code %d", code)
				}
			})
		}
	})
	t.Run("quit", func(t *testing.T) {
		t.Parallel()
		m := newHeldMail(t)
		l := p.start(t, m.env...)
		m.await()
		l.signal(syscall.SIGQUIT)
		l.tells("stopping at once")
		close(m.release)
		m.ended(l)
		m.check()
	})
	t.Run("others", func(t *testing.T) {
		t.Parallel()
		m := newHeldMail(t)
		l := p.start(t, m.env...)
		m.await()
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGPIPE, syscall.SIGTTOU, syscall.SIGWINCH, syscall.SIGCONT} {
			l.signal(s)
		}
		l.tells("stacks of all goroutines")
		close(m.release)
		l.tells("mail sent")
		l.answers("/readyz", 200)
		l.signal(syscall.SIGTERM)
		m.ended(l)
		m.check()
	})
	// The reader of the log ends: "evently-workers 2>&1 | tee log".
	t.Run("no reader", func(t *testing.T) {
		t.Parallel()
		m := newHeldMail(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		l := p.startAs(t, func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = w, w }, m.env...)
		w.Close()
		m.await()
		r.Close()
		close(m.release)
		last := "not acknowledged"
		eventually(t, "the acknowledgement", func() bool {
			n, err := m.redis.Conn(0).Do("HLEN", "unacked")
			return err == nil && n == int64(0) && len(m.relay.Mails()) == 1
		}, &last)
		l.answers("/readyz", 200)
		l.signal(syscall.SIGTERM)
		m.ended(l)
		m.check()
	})
}
