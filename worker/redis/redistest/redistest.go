// Package redistest starts real Redis servers for tests.
package redistest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// Server is a redis-server process of one test, on a port of its own.
type Server struct {
	Addr string // host:port
	Port int

	t       testing.TB
	tls     *tls.Config // nil: the server speaks no TLS
	program string
	args    []string // whole command line
	frozen  atomic.Bool
	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{}
}

// Start starts a server that keeps its data over Restart, and ends it with the
// test. Redis writes its file before it replies, so that Kill loses nothing that was answered.
// Only a machine that loses power would need fsync, which costs milliseconds for every command.
// args are added to its command line. A missing redis-server fails the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartProgram(t, "redis-server", args...)
}

// StartProgram starts another server that understands the command line of redis-server, such
// as valkey-server.
func StartProgram(t testing.TB, program string, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	return start(t, program, func(s *Server) []string {
		return append([]string{
			"--bind", "127.0.0.1", "--port", strconv.Itoa(s.Port), "--dir", dir, "--save", "",
			"--appendonly", "yes", "--appendfsync", "no", "--daemonize", "no", "--logfile", "redis.log",
			"--repl-diskless-sync-delay", "0",
		}, args...)
	})
}

func start(t testing.TB, program string, args func(*Server) []string) *Server {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: run make test, which installs it (%v)", program, err)
	}
	s := &Server{t: t, program: program}
	// A free port may be taken before the server has it.
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("find a free port: %v", err)
		}
		s.Port = l.Addr().(*net.TCPAddr).Port
		l.Close()
		s.Addr = fmt.Sprintf("127.0.0.1:%d", s.Port)
		s.args = args(s)
		err = s.up()
		if err == nil {
			break
		}
		if try == 5 || !errors.Is(err, errEnded) {
			t.Fatal(err)
		}
	}
	t.Cleanup(s.Kill)
	return s
}

// URL of database db.
func (s *Server) URL(db int) string { return fmt.Sprintf("redis://%s/%d", s.Addr, db) }

// Up starts the process and waits until it answers.
func (s *Server) Up() {
	s.t.Helper()
	if err := s.up(); err != nil {
		s.t.Fatal(err)
	}
}

// errEnded is the end of a server at its start, such as by a port that is taken.
var errEnded = errors.New("redis-server has ended")

func (s *Server) up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := exec.Command(s.program, s.args...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.program, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // killed on purpose
	}()
	s.cmd, s.done = cmd, done
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.answers()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-done:
			s.cmd = nil
			return fmt.Errorf("%w at its start: %w", errEnded, err)
		case <-deadline:
			return fmt.Errorf("redis-server does not answer: %w", err)
		}
	}
}

// answers asks whether the process listens on the port, and not another server
// that was quicker. A server with a password tells nothing else.
func (s *Server) answers() error {
	c, err := s.Dial(time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := redigo.String(c.Do("INFO", "server"))
	if e, ok := errors.AsType[redigo.Error](err); ok && strings.HasPrefix(string(e), "NOAUTH") {
		return nil
	}
	if err == nil { // INFO is answered while the data is read
		_, err = c.Do("PING")
	}
	if err == nil && !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid)) {
		err = errors.New("another server has the port")
	}
	return err
}

// Dial connects to the server. patience bounds the wait for each reply.
func (s *Server) Dial(patience time.Duration) (redigo.Conn, error) {
	return redigo.Dial("tcp", s.Addr, redigo.DialConnectTimeout(time.Second), redigo.DialReadTimeout(patience),
		redigo.DialUseTLS(s.tls != nil), redigo.DialTLSConfig(s.tls))
}

// StartSentinels starts n Sentinels that watch master under the name "mymaster",
// call it down after half a second, and are ended with the test. args are added to their
// command lines.
func StartSentinels(t testing.TB, n int, master *Server, args ...string) []*Server {
	t.Helper()
	sentinels := make([]*Server, n)
	for i := range sentinels {
		// A Sentinel writes into its configuration file and cannot do without.
		dir := t.TempDir()
		file := filepath.Join(dir, "sentinel.conf")
		conf := fmt.Sprintf("sentinel monitor mymaster 127.0.0.1 %d %d\n"+
			"sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n", master.Port, n/2+1)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatalf("write the configuration of a Sentinel: %v", err)
		}
		sentinels[i] = start(t, "redis-server", func(s *Server) []string {
			return append([]string{file, "--sentinel", "--bind", "127.0.0.1", "--port", strconv.Itoa(s.Port), "--dir", dir, "--logfile", "sentinel.log"}, args...)
		})
	}
	return sentinels
}

// Kill ends the process without a word (SIGKILL) and waits for its end.
func (s *Server) Kill() { s.signal(syscall.SIGKILL, true) }

// Stop freezes the process (SIGSTOP).
func (s *Server) Stop() {
	s.frozen.Store(true)
	s.signal(syscall.SIGSTOP, false)
}

// Continue ends the effect of Stop.
func (s *Server) Continue() {
	s.signal(syscall.SIGCONT, false)
	s.frozen.Store(false)
}

func (s *Server) signal(sig syscall.Signal, wait bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig) // gone already is fine
	if wait {
		<-s.done
		s.cmd = nil
	}
}

// Conn returns a connection to database db that is closed with the test.
func (s *Server) Conn(db int) redigo.Conn {
	s.t.Helper()
	c, err := s.Dial(10 * time.Second)
	if err == nil && db != 0 {
		_, err = c.Do("SELECT", db)
	}
	if err != nil {
		s.t.Fatalf("connect to redis-server: %v", err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}
