// Package storetest starts real PostgreSQL servers for tests, each with a fresh
// cluster that is gone after the test.
package storetest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver behind sql.Open
)

// Superuser and Password are the login of the cluster.
const (
	Superuser = "evently"
	Password  = "s3cret' \\pw/#?%" // all that a careless DSN trips over
	Database  = "evently"
)

// Schema is the part of the platform's schema that the workers read, as the
// auth service creates it. It suits SQLite as well, but for the enum.
const Schema = `CREATE TABLE users (
	id integer PRIMARY KEY,
	email varchar(255) UNIQUE,
	username varchar(100),
	hashed_password varchar(255),
	full_name varchar(255) NULL,
	is_active bool,
	is_verified bool
)`

const startTimeout = 30 * time.Second

// TB is what a server needs of a test. Every testing.TB is one.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Server is a PostgreSQL server on a free port of the loopback interface, and
// on a unix socket in Dir.
type Server struct {
	Dir  string // of the unix socket
	Port int

	tb       TB
	bin      string
	data     string
	as       *syscall.Credential
	settings []string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	log    bytes.Buffer
}

// Postgres starts a server with an empty [Schema] in [Database]. It ends with
// the test. Without PostgreSQL's programs the test fails, telling what to
// install. Settings, such as "shared_buffers=256MB", override the ones that make
// a server small and fast to start.
func Postgres(tb TB, settings ...string) *Server {
	tb.Helper()
	s := &Server{tb: tb, bin: programs(tb), settings: settings}
	s.as = credential(tb)
	// Not TempDir of tb: its path has the name of the test in it and so grows
	// beyond the 107 octets that the path of a socket may have.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		tb.Fatalf("make a directory for the cluster: %v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.Dir, s.data = dir, filepath.Join(dir, "data")
	if s.as != nil {
		if err := os.Chown(dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			tb.Fatalf("hand the directory to the server's user: %v", err)
		}
	}
	s.initdb()
	tb.Cleanup(s.Stop)
	// A free port may be taken before the server has it.
	for try := 1; ; try++ {
		s.Port = freePort(tb)
		if s.start() {
			break
		}
		if try == 5 {
			tb.Fatalf("postgres ended at its start:\n%s", s.log.String())
		}
	}
	s.Exec("postgres", "CREATE DATABASE "+Database)
	s.Exec(Database, Schema)
	return s
}

// URL returns where [Database] is, with password and without TLS.
func (s *Server) URL() string { return s.url(Database) }

func (s *Server) url(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(Superuser, Password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)),
		Path:     database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Exec runs statements as superuser, over a connection of its own.
func (s *Server) Exec(database, statements string, args ...any) {
	s.tb.Helper()
	db := s.open(database)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := db.ExecContext(ctx, statements, args...); err != nil {
		s.tb.Fatalf("exec: %v", err)
	}
}

// DB returns a pool of superuser connections that closes with the test.
func (s *Server) DB() *sql.DB {
	s.tb.Helper()
	db := s.open(Database)
	s.tb.Cleanup(func() { _ = db.Close() })
	return db
}

func (s *Server) open(database string) *sql.DB {
	s.tb.Helper()
	db, err := sql.Open("postgres", s.url(database))
	if err != nil {
		s.tb.Fatalf("open %s: %v", database, err)
	}
	return db
}

// Start starts the server, the first time or after [Server.Stop], on the same
// port and with the same data, and waits until it takes queries.
func (s *Server) Start() {
	s.tb.Helper()
	if !s.start() {
		s.tb.Fatalf("postgres ended at its start:\n%s", s.log.String())
	}
}

// start reports whether the server takes queries; false is a server that ended.
func (s *Server) start() bool {
	s.tb.Helper()
	s.mu.Lock()
	args := []string{"-D", s.data, "-p", strconv.Itoa(s.Port), "-k", s.Dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=40", "-c", "shared_buffers=4MB"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command("postgres", args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.mu.Unlock()
		s.tb.Fatalf("start postgres: %v", err)
	}
	exited := make(chan struct{})
	s.exited = exited
	go func(cmd *exec.Cmd) {
		defer close(exited)
		_ = cmd.Wait() // its end is only asked for by Stop
	}(s.cmd)
	s.mu.Unlock()

	db := s.open("postgres")
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		// Another server may have the port, and answer before the end of ours is known.
		var data string
		err := db.QueryRowContext(ctx, "SELECT current_setting('data_directory')").Scan(&data)
		if err == nil && data == s.data {
			return true
		}
		select {
		case <-tick.C:
		case <-exited:
			return false
		case <-ctx.Done():
			s.Stop()
			s.tb.Fatalf("postgres takes no queries after %v: %v, of the server in %q\n%s", startTimeout, err, data, s.log.String())
		}
	}
}

// Stop ends the server at once, its connections with it, and waits for its end.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	// SIGQUIT is PostgreSQL's "immediate shutdown"; SIGKILL would leave the
	// processes of its connections behind.
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.exited:
	case <-time.After(startTimeout):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

// Freeze stops all processes of the server (SIGSTOP): it takes connections and answers nothing.
// The function continues it, and the end of the test does so, too.
func (s *Server) Freeze() (thaw func()) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	postmaster := s.cmd.Process.Pid
	all := []int{postmaster}
	// The postmaster first, which makes no further process then.
	_ = syscall.Kill(postmaster, syscall.SIGSTOP)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", postmaster, postmaster))
	if err != nil {
		s.tb.Fatalf("freeze the server: %v", err)
	}
	for word := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(word); err == nil && syscall.Kill(pid, syscall.SIGSTOP) == nil {
			all = append(all, pid)
		}
	}
	thaw = sync.OnceFunc(func() {
		for _, pid := range all {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
	s.tb.Cleanup(thaw)
	return thaw
}

func (s *Server) initdb() {
	s.tb.Helper()
	pw := filepath.Join(s.Dir, "pw")
	if err := os.WriteFile(pw, []byte(Password+"\n"), 0o644); err != nil {
		s.tb.Fatalf("write the password for initdb: %v", err)
	}
	out, err := s.command("initdb", "-D", s.data, "-U", Superuser, "--pwfile="+pw,
		"--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C").CombinedOutput()
	if err != nil {
		s.tb.Fatalf("initdb: %v\n%s", err, out)
	}
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	// Its own process group: a Ctrl-C at the terminal is for the test, which
	// then stops the server itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.as}
	return cmd
}

// programs returns the folder of the newest PostgreSQL. Debian keeps the
// server's programs out of PATH.
func programs(tb TB) string {
	tb.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	if len(found) == 0 {
		tb.Fatalf("%s", "no PostgreSQL server on this machine: install it (on Debian: apt-get install postgresql) "+
			"or put the folder of initdb and postgres into PATH")
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest)
}

func version(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // not a number: older than all
	return n
}

// credential returns whom to run the server as: PostgreSQL refuses to be root.
func credential(tb TB) *syscall.Credential {
	tb.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		tb.Fatalf("PostgreSQL does not run as root, and its own user is missing: %v", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		tb.Fatalf("read the ids of the user postgres: %v", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(tb TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("look for a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
