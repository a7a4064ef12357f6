package rows

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// operator is R21.
var operator = harness.Row{
	ID:     "R21",
	Goal:   "`celery inspect` and `control` at full load, and malformed control messages",
	Mark:   "answered < 1 s (p95), no exit, no list of replies stays for more than a minute; a revoke outlives a restart",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		options := harness.Options{Name: "asked", Concurrency: 4, Visibility: time.Hour}
		w := s.Start(options)
		s.Ready()
		bad := harness.Size(r, 500, 10_000)
		rounds := harness.Size(r, 2, 20)
		s.Send(harness.Size(r, 600, 4000), harness.Task{Seconds: 0.02})
		for range bad {
			s.Redis.Do("PUBLISH", "/0.celery.pidbox", badControl(r))
		}
		s.Recovers(30 * time.Second) // by then it has seen them
		if w.Ended() {
			s.Figure("exits on malformed control messages")
			s.Fatalf("the worker has ended")
		}
		host, err := os.Hostname()
		if err != nil {
			s.Fatalf("%v", err)
		}
		cmd := exec.CommandContext(s.Context(), testkit.Python(s, testkit.CeleryNew), filepath.Join(harness.Root(s), "torture", "rows", "testdata", "questions.py"),
			s.Redis.URL(), "asked@"+host, strconv.Itoa(rounds))
		cmd.Env = testkit.PythonEnv()
		out, err := cmd.Output()
		if err != nil {
			s.Want(!w.Ended(), "the worker to go on")
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				err = fmt.Errorf("%w\n%s", err, testkit.Last(string(exit.Stderr), 3000))
			}
			s.Fatalf("the operator: %v", err)
		}
		var told struct {
			Took       []float64 `json:"took"`
			Unanswered []string  `json:"unanswered"`
		}
		if err := json.Unmarshal(out, &told); err != nil {
			s.Fatalf("the operator: %v", err)
		}
		var took []time.Duration
		for _, seconds := range told.Took {
			took = append(took, time.Duration(seconds*float64(time.Second)))
		}
		eternal := 0
		for _, key := range s.Redis.Strings("KEYS", "*.reply.celery.pidbox") {
			if s.Redis.Int("TTL", key) < 0 && fmt.Sprint(s.Redis.Do("TYPE", key)) == "list" {
				eternal++
			}
		}
		s.Want(len(told.Unanswered) == 0, "every question answered, not: %v", told.Unanswered)
		s.Want(percentile(took, 95) < r.Mark(time.Second), "p95 < %s", r.Mark(time.Second))
		s.Want(eternal == 0, "no list of replies without an end, have %d", eternal)
		s.Want(!w.Ended(), "the worker to go on")
		kept := "–"
		if !r.Kind.IsCelery() { // Celery keeps revokes in a file, when it is given one
			kept = revokeKept(s, w, options)
		}
		a := s.Await(s.IDs, time.Minute)
		s.Want(a.Done == a.Tasks, "every task done: %s", a)
		s.Figure("%d bad messages; %d questions: p95 %s, worst %s, %d unanswered; %d lists of replies without an end; revoke kept: %s",
			bad, len(took), ms(percentile(took, 95)), ms(slices.Max(took)), len(told.Unanswered), eternal, kept)
	},
}

// revokeKept revokes a task, starts the worker again, and sends the task.
func revokeKept(s *harness.Stage, w *testkit.Process, options harness.Options) string {
	s.Helper()
	id, raw := s.Message(0, harness.Task{})
	body, err := json.Marshal(map[string]any{"method": "revoke", "arguments": map[string]any{"task_id": id}, "destination": nil})
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Redis.Do("PUBLISH", "/0.celery.pidbox", control(base64.StdEncoding.EncodeToString(body)))
	testkit.Eventually(s, 30*time.Second, "the revoke is known", func() bool {
		return slices.Contains(s.Redis.Strings("ZRANGE", "_goworker.1.revoked", 0, -1), id)
	})
	w.Kill()
	s.Redis.Do("LPUSH", harness.Queue, raw)
	s.Start(options)
	if s.Want(testkit.Poll(30*time.Second, func() bool { return s.Redis.Results([]string{id})[id].Status == "REVOKED" }), "the revoked task REVOKED after a restart") {
		return "yes"
	}
	return "no"
}

// control is a control message around a body.
func control(body string) string {
	return `{"body": "` + body + `", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"clock": 1, "expires": null}, ` +
		`"properties": {"delivery_mode": 2, "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""}, "priority": 0, "body_encoding": "base64", "delivery_tag": "t"}}`
}

// badControl draws a control message that is none.
func badControl(r *harness.Run) string {
	bodies := []string{"null", "[]", "{}", `{"method": 1}`, `{"method": "ping", "arguments": []}`, `{"method": "revoke", "arguments": {}}`,
		`{"method": "rate_limit", "arguments": {"task_name": [], "rate_limit": "x/y"}}`, `{"method": "pool_grow", "arguments": {"n": "many"}}`,
		`{"method": "time_limit", "arguments": {"task_name": "e2e.work", "soft": "x"}}`, `{"method": "ping", "reply_to": 7}`,
		`{"method": "no_such_command", "arguments": {"x": 1}}`, `{"method": "add_consumer", "arguments": {"queue": null}}`,
		strings.Repeat("[", 2000), "{\"method\": \"ping\""}
	switch r.Chance.IntN(4) {
	case 0:
		return []string{"", "null", "no JSON", "[]", "{}", `{"body": null}`, "\xff\xfe"}[r.Chance.IntN(7)]
	case 1:
		return control("%%%")
	default:
		return control(base64.StdEncoding.EncodeToString([]byte(bodies[r.Chance.IntN(len(bodies))])))
	}
}
