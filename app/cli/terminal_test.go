package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// testTerminal looks for colours, which are for a terminal, and not for every
// terminal.
func testTerminal(t *testing.T, p binary) {
	bad := "CONCURRENCY=x"
	for _, test := range []struct {
		name   string
		env    []string
		colour bool
	}{
		{"terminal", []string{bad, "TERM=xterm"}, true},
		{"NO_COLOR", []string{bad, "TERM=xterm", "NO_COLOR=1"}, false},
		{"dumb", []string{bad, "TERM=dumb"}, false},
	} {
		out, code := onTerminal(t, p.command(t, test.env, "config"), "")
		if code != 2 || strings.Contains(out, "\x1b[31mevently-workers:\x1b[0m") != test.colour || strings.Contains(out, "\x1b") != test.colour {
			t.Errorf("%s: exit code %d, %q; want colours: %t", test.name, code, out, test.colour)
		}
	}
	// The keys of top; the terminal is as before when it ends.
	out, code := onTerminal(t, p.command(t, []string{"TERM=xterm", "REDIS_URL=redis://127.0.0.1:1/0", "LEDGER_DATABASE_URL=off"}, "top"), "spq")
	if code != 0 || !strings.Contains(out, "\x1b[?1049h") || !strings.HasSuffix(out, "\x1b[?25h\x1b[?1049l") || !strings.Contains(out, "evently top") {
		t.Errorf("top: exit code %d, %q", code, out)
	}
	// A person reads text, a machine JSON. The port is taken, so that it ends.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, code = onTerminal(t, p.command(t, []string{"HEALTH_ADDR=" + l.Addr().String(), "TERM=xterm", "CONCURRENCY='4'"}, "run"), "")
	if code != 1 || !strings.Contains(out, "level=WARN") || strings.Contains(out, `{"time"`) {
		t.Errorf("log on a terminal: exit code %d, %q", code, out)
	}
}

// askOnTerminal says no to the question whether to delete everything.
func askOnTerminal(t *testing.T, p binary, env []string) {
	t.Helper()
	for _, answer := range []string{"\n", "n\n", "\x04"} {
		out, code := onTerminal(t, p.command(t, env, "dead-letters", "delete", "--all"), answer)
		if code != 1 || !strings.Contains(out, "Delete 1 dead letter? [y/N]") || !strings.Contains(out, "nothing was done") {
			t.Errorf("answer %q: exit code %d, %q", answer, code, out)
		}
	}
}

// onTerminal runs a command on a terminal of its own, with input typed, and
// returns what is seen there.
func onTerminal(t *testing.T, cmd *exec.Cmd, input string) (output string, code int) {
	t.Helper()
	return onTerminalOf(t, cmd, input, 80)
}

func onTerminalOf(t *testing.T, cmd *exec.Cmd, input string, columns uint16) (output string, code int) {
	t.Helper()
	master, slave := openTerminal(t)
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if _, err := io.WriteString(master, input); err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	_, _ = io.Copy(&seen, master) // ends with EIO when the last writer is gone
	_ = cmd.Wait()                // the exit code says it all
	return seen.String(), cmd.ProcessState.ExitCode()
}

// openTerminal opens a pseudo-terminal; see pty(7).
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
