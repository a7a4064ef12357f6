// Package postfix runs a real Postfix for tests, from a separate folder and on free ports.
package postfix

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// Options are the configuration of a Postfix. In all texts @DIR@ is its folder.
type Options struct {
	Main   string            // lines of main.cf, after those of every test
	Master string            // lines of master.cf, after the services that every Postfix has
	Files  map[string]string // more files of its folder, by their names
	Maps   []string          // names of the files for which postmap makes a table
}

// Server is a running Postfix.
type Server struct {
	Dir  string // its configuration; other users may read it
	Proc *testkit.Process
}

const mainCF = `compatibility_level = 3.6
queue_directory = @DIR@/queue
data_directory = @DIR@/data
maillog_file = /dev/stdout
myhostname = postfix.example
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtp_dns_support_level = disabled
smtp_host_lookup = native
notify_classes =
smtpd_tls_loglevel = 1
`

const masterCF = `pickup    unix  n - n 60    1 pickup
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
verify    unix  - - n -     1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
proxywrite unix - - n -     1 proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
lmtp      unix  - - n -     - lmtp
error     unix  - - n -     - error
retry     unix  - - n -     - error
discard   unix  - - n -     - discard
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
postlog   unix-dgram n - n - 1 postlogd
`

// Start runs a Postfix until the test ends. Only root can do that.
func Start(t testkit.T, o Options) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "postfix") // that of the test is for one user alone
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{Dir: dir}
	files := maps.Clone(o.Files)
	if files == nil {
		files = map[string]string{}
	}
	files["main.cf"], files["master.cf"] = mainCF+o.Main, masterCF+o.Master
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatalf("%v", err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(files[name], "@DIR@", dir)), 0o755); err != nil { // also scripts
			t.Fatalf("%v", err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "queue"), 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	s.run(t, "", "postfix", "-c", dir, "check") // makes the folders of the queue
	for _, name := range o.Maps {
		s.run(t, "", "postmap", "-c", dir, "hash:"+filepath.Join(dir, name))
	}
	// With -s it cannot begin, because it leads a group already. It outlives a test that is
	// killed, by ten minutes at most.
	s.Proc = testkit.Start(t, "postfix", nil, s.programs(t)+"/master", "-c", dir, "-d", "-e", "600")
	testkit.Eventually(t, 30*time.Second, "Postfix is started", func() bool {
		if s.Proc.Ended() {
			t.Fatalf("Postfix has ended at its start:\n%s", s.Proc.Out.String())
		}
		return strings.Contains(s.Log(), "daemon started")
	})
	t.Cleanup(s.Stop)
	return s
}

// programs returns the folder of the servers of Postfix.
func (s *Server) programs(t testkit.T) string {
	t.Helper()
	return s.run(t, "", "postconf", "-c", s.Dir, "-h", "daemon_directory")
}

// AddUser makes a login for the service smtpd, in the realm of the host.
func AddUser(t testkit.T, file, user, password string) {
	t.Helper()
	(&Server{}).run(t, password, "saslpasswd2", "-f", file, "-p", "-c", "-u", "postfix.example", user)
	if err := os.Chmod(file, 0o644); err != nil { // smtpd is not root
		t.Fatalf("%v", err)
	}
}

// run runs a command of the administrator and returns its output.
func (s *Server) run(t testkit.T, input, name string, args ...string) string {
	t.Helper()
	for _, folder := range []string{"/usr/sbin/", "/usr/bin/"} { // the first is not in each PATH
		if _, err := os.Stat(folder + name); err == nil {
			name = folder + name
			break
		}
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	var warnings bytes.Buffer
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, out, &warnings)
	}
	return string(bytes.TrimSpace(out))
}

// Log returns the lines that Postfix has logged.
func (s *Server) Log() string { return s.Proc.Out.String() }

// Logged waits for a line that has all the words.
func (s *Server) Logged(t testkit.T, words ...string) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, fmt.Sprintf("a line of Postfix with %q", words), func() bool {
		for line := range strings.Lines(s.Log()) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return true
			}
		}
		return false
	})
}

// Stop ends Postfix and all its processes.
func (s *Server) Stop() {
	if s.Proc.Ended() {
		return
	}
	s.Proc.SignalMain(syscall.SIGTERM) // which ends its group
	select {
	case <-s.Proc.Done:
	case <-time.After(10 * time.Second):
		s.Proc.Kill()
	}
}
