package harness

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/evently/workers/internal/testkit"
)

// recorder is a [testkit.T] outside of "go test".
type recorder struct {
	name string
	out  io.Writer
	ctx  context.Context

	mu      sync.Mutex
	faults  []string
	cleanup []func()
}

var _ testkit.T = (*recorder)(nil)

// Record calls fn with a T that writes to out, and returns the faults that fn
// reported. It cleans up before it returns, also when ctx has ended.
func Record(ctx context.Context, name string, out io.Writer, fn func(testkit.T)) []string {
	ctx, cancel := context.WithCancel(ctx)
	r := &recorder{name: name, out: out, ctx: ctx}
	r.isolate(func() { fn(r) })
	cancel()
	for len(r.cleanup) > 0 {
		last := r.cleanup[len(r.cleanup)-1]
		r.cleanup = r.cleanup[:len(r.cleanup)-1]
		r.isolate(last)
	}
	return slices.Clone(r.faults)
}

// isolate runs fn in a goroutine of its own and waits for it, as Fatalf ends it.
func (r *recorder) isolate(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) TempDir() string {
	dir, err := os.MkdirTemp("", "torture-")
	if err != nil {
		r.Fatalf("%v", err)
	}
	r.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (r *recorder) Cleanup(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanup = append(r.cleanup, fn)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.faults) > 0
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n    ")
	fmt.Fprintf(r.out, "%s: %s\n", r.name, text)
}

func (r *recorder) Errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.Logf("FAULT: %s", text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, text)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
