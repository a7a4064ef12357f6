package e2e_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// workflowAnswer is what get() gave to the caller of testdata/workflow.py.
type workflowAnswer struct {
	Name    string          `json:"name"`
	Value   json.RawMessage `json:"value"`
	Error   string          `json:"error"`
	Message string          `json:"message"`
	Seconds float64         `json:"seconds"`
}

// sendWorkflows sends the workflows of testdata/workflow.py.
func sendWorkflows(t *testing.T, r *redisServer, members, bytes int, names ...string) map[string]workflowAnswer {
	t.Helper()
	answers := map[string]workflowAnswer{}
	// The old Celery repeats the rest of a chain in every member.
	out := runPython(t, celeryOld, nil, "testdata/workflow.py", append([]string{r.url(), queue, strconv.Itoa(members), strconv.Itoa(bytes)}, names...)...)
	for line := range strings.Lines(out) {
		var a workflowAnswer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		answers[a.Name] = a
	}
	return answers
}

// TestWorkflowsOfAnySize has a chain of chords, whose first messages hold the whole chain
// once for each member, and arguments of some megabytes.
func TestWorkflowsOfAnySize(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	startWorker(t, r, "ours")
	// The sum of 1+0 to 1+29; the others have an argument too many.
	const members, sum = 30, "465"
	answers := sendWorkflows(t, r, members, 3<<20, "chain", "task", "link", "chord", "callback")
	if got := answers["chain"]; string(got.Value) != sum {
		t.Errorf("the chain returned %s, %s(%s), want %s", got.Value, got.Error, got.Message, sum)
	}
	for _, name := range []string{"task", "link"} {
		if got := answers[name]; got.Error != "TypeError" {
			t.Errorf("%s returned %s, %s(%s), want the TypeError of its task", name, got.Value, got.Error, got.Message)
		}
	}
	if got := answers["chord"]; got.Error != "ChordError" && got.Error != "TypeError" {
		t.Errorf("the chord returned %s, %s(%s), want the failure of its member", got.Value, got.Error, got.Message)
	}
	if dead := deadLetters(t, r); len(dead) != 0 {
		t.Errorf("%d dead letters, the first one: %+v", len(dead), dead[0])
	}
	r.settled(queue)
}

// TestRefusedWorkflows has the same with a small limit: every caller is told at once.
func TestRefusedWorkflows(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	startWorker(t, r, "ours", "-max-bytes", "20000")
	for bytes, names := range map[int][]string{
		25_000:  {"chain", "task", "link", "chord"},
		500_000: {"chain", "task", "link"}, // not even read: the id is all that is known
	} {
		answers := sendWorkflows(t, r, 20, bytes, append(names[:len(names):len(names)], "callback")...)
		for _, name := range names {
			got := answers[name]
			if got.Error != "DecodeError" && got.Error != "ChordError" || !strings.Contains(got.Message, "too-large") {
				t.Errorf("%s of %d bytes returned %s, %s(%s), want the reason", name, bytes, got.Value, got.Error, got.Message)
			}
			if got.Seconds > 20 {
				t.Errorf("%s of %d bytes was told after %.1f s", name, bytes, got.Seconds)
			}
		}
		if got := answers["callback"]; bytes < 100_000 && string(got.Value) != "42" {
			t.Errorf("the error callback returned %s, %s(%s)", got.Value, got.Error, got.Message)
		}
	}
	r.settled(queue)
}
