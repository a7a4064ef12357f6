package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
)

const (
	celeryOld = testkit.CeleryOld
	celeryNew = testkit.CeleryNew
)

func python(t testing.TB, celery string) string { return testkit.Python(t, celery) }
func pythonEnv() []string                       { return testkit.PythonEnv() }

// call is one task to send; see testdata/producer.py.
type call struct {
	Label   string         `json:"label"`
	Via     string         `json:"via"`
	Task    string         `json:"task"`
	Args    []any          `json:"args,omitempty"`
	Kwargs  map[string]any `json:"kwargs,omitempty"`
	Options map[string]any `json:"options,omitempty"`
}

// answer is what AsyncResult.get() gave to the Python caller.
type answer struct {
	Label   string          `json:"label"`
	ID      string          `json:"id"`
	State   string          `json:"state"`
	Value   json.RawMessage `json:"value"`
	Error   string          `json:"error"` // class of the exception
	Message string          `json:"message"`
}

// produce sends calls by real Celery and returns the answers by their labels.
func produce(t testing.TB, celery, broker string, calls []call) map[string]answer {
	t.Helper()
	plan, err := json.Marshal(map[string]any{"broker": broker, "timeout": 90, "calls": calls})
	if err != nil {
		t.Fatal(err)
	}
	out := runPython(t, celery, bytes.NewReader(plan), "testdata/producer.py")
	answers := make(map[string]answer, len(calls))
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("producer printed %q: %v", lines.Text(), err)
		}
		answers[a.Label] = a
	}
	if len(answers) != len(calls) {
		t.Fatalf("%d answers to %d calls", len(answers), len(calls))
	}
	return answers
}

// flood sends count tasks by real Celery and returns their ids in that order.
func flood(t testing.TB, celery string, r *redisServer, queue string, count int, task string, args []any, options map[string]any) []string {
	t.Helper()
	if options == nil {
		options = map[string]any{}
	}
	a, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	o, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(runPython(t, celery, nil, "testdata/flood.py", r.url(), queue, strconv.Itoa(count), task, string(a), string(o)))
	if len(ids) != count {
		t.Fatalf("%d ids of %d tasks", len(ids), count)
	}
	return ids
}

// runPython runs a script to its end and returns what it printed.
func runPython(t testing.TB, celery string, stdin *bytes.Reader, script string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(t, celery), append([]string{script}, args...)...)
	cmd.Env = pythonEnv()
	if stdin != nil {
		cmd.Stdin = stdin
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s with %s: %v\n%s", script, celery, err, last(stderr.String(), 6000))
	}
	return string(out)
}

// startPeer starts a Python worker with the tasks made for tests.
func startPeer(t testing.TB, celery string, r *redisServer, queue, name string, visibility time.Duration) *process {
	t.Helper()
	p := start(t, name, pythonEnv(), python(t, celery), "testdata/peer.py", r.url(), queue, name,
		strconv.FormatFloat(visibility.Seconds(), 'f', -1, 64))
	t.Cleanup(func() {
		if t.Failed() && !p.ended() {
			t.Logf("what %s is doing:\n%s", name, p.stacks())
		}
	})
	return p
}

// stacks asks a Python worker where its threads are: Celery prints that at
// SIGUSR1.
func (p *process) stacks() string {
	before := len(p.out.String())
	if err := syscall.Kill(p.PID(), syscall.SIGUSR1); err != nil {
		return err.Error()
	}
	cry := func() string { return p.out.String()[before:] }
	if !testkit.Poll(3*time.Second, func() bool { return strings.Contains(cry(), "LOCAL VARIABLES") }) {
		return "no answer within 3 s: " + clip(cry(), 1000)
	}
	return clip(cry(), 12000)
}
