package storetest

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Standby starts a hot standby of s on another port, which follows s by streaming replication.
// From now on s commits nothing that the standby does not have. The standby ends with the test.
func (s *Server) Standby() *Server {
	s.tb.Helper()
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		s.tb.Fatalf("make a directory for the standby: %v", err)
	}
	s.tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &Server{tb: s.tb, bin: s.bin, as: s.as, settings: s.settings, Dir: dir, data: filepath.Join(dir, "data"), Port: freePort(s.tb)}
	if s.as != nil {
		if err := os.Chown(dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			s.tb.Fatalf("hand the directory to the server's user: %v", err)
		}
	}
	source := url.URL{
		Scheme: "postgres", User: url.UserPassword(Superuser, Password), Host: "127.0.0.1:" + strconv.Itoa(s.Port),
		RawQuery: "sslmode=disable&application_name=standby",
	}
	out, err := s.command("pg_basebackup", "-d", source.String(), "-D", b.data, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync").CombinedOutput()
	if err != nil {
		s.tb.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	s.tb.Cleanup(b.Stop)
	b.Start()
	s.Exec("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
	s.Exec("postgres", "SELECT pg_reload_conf()")
	s.awaitSync()
	return b
}

// awaitSync waits until a standby follows synchronously.
func (s *Server) awaitSync() {
	s.tb.Helper()
	db := s.open("postgres")
	defer db.Close()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		n := 0
		err := db.QueryRow("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'").Scan(&n)
		if n == 1 {
			return
		}
		if time.Since(begin) > startTimeout {
			s.tb.Fatalf("no standby follows after %v: %v", startTimeout, err)
		}
	}
}

// Promote makes a standby the primary, and returns once it takes writes.
func (s *Server) Promote() {
	s.tb.Helper()
	s.Exec("postgres", "SELECT pg_promote()")
}
