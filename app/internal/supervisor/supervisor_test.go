package supervisor_test

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evently/workers/app/internal/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket is where systemd listens.
func socket(t *testing.T) *net.UnixConn {
	t.Helper()
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	c, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	return c
}

// next returns the next report.
func next(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := c.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func TestReports(t *testing.T) {
	c := socket(t)
	t.Setenv("WATCHDOG_USEC", "30000")
	r := supervisor.Start(slog.New(slog.DiscardHandler))
	defer r.Close()
	r.Ready(func() string { return "consuming,\nFAKE=1" })
	if got := next(t, c); got != "READY=1\nSTATUS=consuming, FAKE=1" {
		t.Errorf("first report %q", got)
	}
	for range 3 {
		if got := next(t, c); got != "WATCHDOG=1\nSTATUS=consuming, FAKE=1" {
			t.Errorf("report %q", got)
		}
	}
	r.Stopping(32 * time.Second)
	for {
		got := next(t, c)
		if strings.HasPrefix(got, "WATCHDOG") {
			continue
		}
		if got != "STOPPING=1\nEXTEND_TIMEOUT_USEC=32000000" {
			t.Errorf("last report %q", got)
		}
		break
	}
}

// TestNotReady sends nothing before Ready, so that systemd sees a start that does not end.
func TestNotReady(t *testing.T) {
	c := socket(t)
	t.Setenv("WATCHDOG_USEC", "3000")
	r := supervisor.Start(slog.New(slog.DiscardHandler))
	r.Close()
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 100)); err == nil {
		t.Errorf("report of %d bytes before the process is ready", n)
	}
}

func TestWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	r := supervisor.Start(slog.New(slog.DiscardHandler))
	if r != nil {
		t.Fatal("reports without a supervisor")
	}
	r.Ready(func() string { return "" })
	r.Stopping(time.Second)
	r.Close()
}
