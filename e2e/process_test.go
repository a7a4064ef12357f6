package e2e_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// process is a [testkit.Process] under the short names of these tests.
type process struct {
	*testkit.Process
	name string
	out  *testkit.Output
	done chan struct{} // closed when it has ended
}

// start runs a program until the test ends.
func start(t testing.TB, name string, env []string, path string, args ...string) *process {
	t.Helper()
	return named(testkit.Start(t, name, env, path, args...))
}

func named(p *testkit.Process) *process {
	return &process{Process: p, name: p.Name, out: &p.Out, done: p.Done}
}

func (p *process) kill()                    { p.Kill() }
func (p *process) signal(s syscall.Signal)  { p.Signal(s) }
func (p *process) ended() bool              { return p.Ended() }
func (p *process) wait(d time.Duration) int { return p.Wait(d) }

func eventually(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, d, what, ok)
}

func clip(s string, n int) string { return testkit.Clip(s, n) }
func last(s string, n int) string { return testkit.Last(s, n) }
