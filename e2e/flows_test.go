package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// difference is one that testdata/flows.py has found, or its last line.
type difference struct {
	Flow, ID, Field string
	Celery, Ours    json.RawMessage
	Varies          bool // one of our answers is one of Celery's, when both are asked again

	Results, Compared, Callbacks int
}

// TestResultsAsCelery sends the same workflows, which fail in many ways, to a worker
// of the newest Celery and to ours, and compares all that both have stored of them. What
// Celery itself stores now so, now otherwise is no difference; testdata/flows.py finds out.
func TestResultsAsCelery(t *testing.T) {
	t.Parallel()
	random := 40
	if long() {
		random = 1000
	}
	chance := seeded(t)
	var differences []string
	t.Cleanup(func() { // below the logs of the servers, where a clipped report still shows them
		for _, d := range differences {
			t.Log(d)
		}
	})
	varying := 0
	r := startRedis(t)
	theirs, ours := r.url(), strings.TrimSuffix(r.url(), "/0")+"/1"
	start(t, "theirs", pythonEnv(), python(t, celeryNew), "testdata/flows.py", "worker", theirs)
	start(t, "ours", []string{"NOTES_URL=" + ours}, bin.testworker,
		"-redis", ours, "-queue", queue, "-name", "ours@%h", "-concurrency", "1", "-extended")

	out := runPython(t, celeryNew, nil, "testdata/flows.py", "compare", theirs, ours, strconv.Itoa(chance.IntN(10_000)), strconv.Itoa(random))
	var last difference
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		last = difference{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			t.Fatalf("flows.py printed %q: %v", lines.Text(), err)
		}
		if last.Field == "" {
			continue
		}
		text := fmt.Sprintf("%s: %s of %s: Celery has %s, we have %s", last.Flow, last.Field, last.ID, clip(string(last.Celery), 600), clip(string(last.Ours), 600))
		if last.Varies {
			t.Log("left to chance by Celery, too: ", text)
			varying++
			continue
		}
		differences = append(differences, text)
	}
	if n := len(differences); n != 0 {
		t.Errorf("%d differences, which the last lines of this test show", n)
	}
	t.Logf("%d results by Celery, %d of them compared, %d fields left to chance; %d calls of error callbacks", last.Results, last.Compared, varying, last.Callbacks)
	if last.Compared < 500 || last.Callbacks == 0 {
		t.Error("that is too little to prove anything")
	}
}
