package cli_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testSlowConnections opens 3,000 connections to the health port of a process
// that may have 1,024 files. The probes are answered, and files are left for
// the work.
func testSlowConnections(t *testing.T, p binary) {
	const files = 1024
	many := 3000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < uint64(many+500) {
		many = int(limit.Cur) - 500 // still more than the program may have
	}
	if many < files {
		t.Fatalf("this test needs %d open files and may have %d: raise the limit with ulimit -n", files+500, limit.Cur)
	}
	l := p.startAs(t, func(cmd *exec.Cmd) {
		cmd.Args = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0"`, files), cmd.Path}
		cmd.Path = "/bin/sh"
	}, "REDIS_HOST=127.0.0.1", "REDIS_PORT=1", "DB_HOST=127.0.0.1", "DB_PORT=1", "SMTP_HOST=127.0.0.1", "MONITOR_ADDR=off", "HEALTH_PPROF=local")
	l.answers("/livez", 200)
	var slow []net.Conn
	defer func() {
		for _, c := range slow {
			c.Close()
		}
	}()
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	addr := strings.TrimPrefix(l.url, "http://")
	unanswered := 0
	for n := range many {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		slow = append(slow, c)
		_, _ = io.WriteString(c, "GET /debug/pprof/heap HTTP/1.1\r\nX: ") // or it is closed already
		if n%100 != 99 {
			continue
		}
		resp, err := client.Get(l.url + "/livez")
		if err != nil {
			unanswered++
			continue
		}
		resp.Body.Close()
	}
	if unanswered > 0 {
		t.Errorf("%d of %d probes had no answer", unanswered, many/100)
	}
	l.answers("/livez", 200)
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(open); n > files/3 {
		t.Errorf("%d open files, want most of %d left", n, files)
	}
	if code := l.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}
