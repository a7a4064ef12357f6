package tasks_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
)

// watcher records what an observer is told.
type watcher struct {
	mu    sync.Mutex
	ended []string
}

func (w *watcher) Ended(e tasks.Ended) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, fmt.Sprintf("%s %s %q final=%t code=%t %v", e.Kind, e.State, e.Class, e.Final, e.Code, e.Whole.Truncate(time.Millisecond)))
}

func (w *watcher) Limited(string, time.Duration) {}

func (w *watcher) Panicked() {}

func (w *watcher) Unchecked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, "unchecked")
}

// The observer is told of each attempt how it ended.
func TestObserver(t *testing.T) {
	for name, test := range map[string]struct {
		kind string
		err  error
		age  time.Duration // since the first claim
		want string
	}{
		"accepted":          {"otp", nil, 3 * time.Second, `otp accepted "" final=true code=true 3s`},
		"refused":           {"otp", &mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}}, 0, `otp rejected "address" final=true code=true 0s`},
		"greylisted":        {"welcome", &mail.SendError{Command: "RCPT", Code: 450, Greylisted: true}, 0, `welcome deferred "greylisted" final=false code=false 0s`},
		"expired":           {"otp", nil, time.Hour, `otp expired "" final=true code=true 1h0m0s`},
		"relay unavailable": {"welcome", &mail.SendError{Command: "DIAL"}, 0, `welcome queued "connection" final=false code=false 0s`},
	} {
		w := new(watcher)
		b := newBench(t, func(c *tasks.Config) { c.Observer = w })
		b.out.err = test.err
		_, _ = b.run(t.Context(), with(oneOfEach()[test.kind], worker.TimeHeader(firstSeen, now.Add(-test.age))))
		if !slices.Equal(w.ended, []string{test.want}) {
			t.Errorf("%s: %q, want %s", name, w.ended, test.want)
		}
	}
}
