package cli_test

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// testSystemd starts the worker as a unit of Type=notify does, with Redis unavailable at first.
func testSystemd(t *testing.T, p binary) {
	socket := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// await returns the first report that has all of the words.
	await := func(words ...string) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 4096)
		for {
			n, err := c.Read(buffer)
			if err != nil {
				t.Fatalf("no report with %q: %v", words, err)
			}
			found := 0
			for _, word := range words {
				if strings.Contains(string(buffer[:n]), word) {
					found++
				}
			}
			if found == len(words) {
				return
			}
		}
	}
	server := testkit.StartRedis(t)
	server.Proc.Kill()
	cmd := p.command(t, []string{
		"REDIS_HOST=127.0.0.1", "REDIS_PORT=" + server.Port, "HEALTH_ADDR=off", "NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=300000", "SHUTDOWN_GRACE=3",
	}, "run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await("READY=1", "not consuming")
	server.Start()
	await("WATCHDOG=1", "running: 0 of ")
	server.Proc.Kill()
	await("WATCHDOG=1", "not consuming")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await("STOPPING=1", "EXTEND_TIMEOUT_USEC=10000000")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
