package testkit

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that a test started, with all that it printed. Make one
// with Start.
type Process struct {
	Name string
	Cmd  *exec.Cmd
	Out  Output
	Done chan struct{} // closed when it has ended

	t    T
	shot bool // killed by the test itself, so its last words tell nothing
}

// Output collects what a process prints, on both streams.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements [io.Writer].
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String returns what was printed so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// RaceOptions is a variable for the environment of programs with the race detector. It ends them
// at once: they would wait for a second for the races of goroutines that have no owner.
const RaceOptions = "GORACE=atexit_sleep_ms=0"

// Start runs a program until the test ends, in a process group of its own and in
// an environment of its own: nothing of the developer's leaks in.
func Start(t T, name string, env []string, path string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, Name: name, Cmd: exec.Command(path, args...), Done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.Out, &p.Out
	p.Cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=C.UTF-8", RaceOptions}, env...)
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.Cmd.WaitDelay = 5 * time.Second // a grandchild may hold the pipes open
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.Cmd.Wait() // ProcessState tells how
		close(p.Done)
	}()
	t.Cleanup(func() {
		shot := p.shot
		p.Kill()
		p.shot = shot
		p.check()
	})
	return p
}

// check reports what no test should see in the output of a program.
func (p *Process) check() {
	out := p.Out.String()
	for _, bad := range []string{"WARNING: DATA RACE", "\npanic: ", "fatal error: "} {
		if i := strings.Index(out, bad); i >= 0 {
			p.t.Errorf("%s printed:\n%s", p.Name, Clip(out[i:], 6000))
		}
	}
	if p.t.Failed() && !p.shot {
		p.t.Logf("last words of %s:\n%s", p.Name, Last(out, 3000))
	}
}

// PID of the process, which is that of its group too.
func (p *Process) PID() int { return p.Cmd.Process.Pid }

// Kill ends the whole process group with SIGKILL and waits for it.
func (p *Process) Kill() {
	p.shot = true
	p.Signal(syscall.SIGKILL)
	<-p.Done
}

// Signal sends a signal to the whole process group.
func (p *Process) Signal(s syscall.Signal) {
	// ESRCH: it has ended already, which is what most callers want.
	if err := syscall.Kill(-p.PID(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Errorf("signal %s to %s: %v", s, p.Name, err)
	}
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.Done:
		return true
	default:
		return false
	}
}

// Wait returns the exit code, -1 for a death by signal.
func (p *Process) Wait(d time.Duration) int {
	p.t.Helper()
	select {
	case <-p.Done:
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(d):
		if p.Ended() { // both came while this process stood still
			return p.Cmd.ProcessState.ExitCode()
		}
		p.t.Fatalf("%s has not ended after %s", p.Name, d)
		return -1
	}
}

// Poll asks every 20 ms until ok holds; false means that it did not within d. The last question is
// asked after the end of d, as the machine may stand still between a question and its answer.
func Poll(d time.Duration, ok func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(d); ; <-tick.C {
		last := time.Now().After(deadline)
		if ok() {
			return true
		}
		if last {
			return false
		}
	}
}

// Eventually polls until ok holds, and fails the test after d.
func Eventually(t T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	if !Poll(d, func() bool { stopped(t); return ok() }) {
		t.Fatalf("not within %s: %s", d, what)
	}
}

// Pause waits: chance or the length of a fault is the test here, nothing is
// awaited.
func Pause(t T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		stopped(t)
	}
}

// stopped ends a test whose context has ended, because it was interrupted.
func stopped(t T) {
	t.Helper()
	if t.Context().Err() != nil {
		t.Fatalf("interrupted")
	}
}

// Clip returns the first n bytes of a text.
func Clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + " …"
	}
	return s
}

// Last returns the last n bytes of a text.
func Last(s string, n int) string {
	if len(s) > n {
		return "… " + s[len(s)-n:]
	}
	return s
}

// SignalMain sends a signal to the process alone, and not to its children.
func (p *Process) SignalMain(s syscall.Signal) {
	if err := p.Cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %s to %s: %v", s, p.Name, err)
	}
}
