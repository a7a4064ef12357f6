package e2e_test

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/evently/workers/internal/testkit"
)

type message = testkit.Message

func parseMessage(t testing.TB, raw string) message { return testkit.ParseMessage(t, raw) }

// deadLetter is one entry of "evently-workers dead-letters list --json".
type deadLetter struct {
	ID     string `json:"id"`
	Queue  string `json:"queue"`
	Reason string `json:"reason"`
	Task   string `json:"task"`
	TaskID string `json:"task_id"`
	Size   int    `json:"size"`
}

// deadLetters asks the command for all dead letters.
func deadLetters(t testing.TB, r *redisServer) []deadLetter {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin.service, "dead-letters", "list", "--json", "--limit", "10000")
	cmd.Env = []string{"REDIS_URL=" + r.url(), testkit.RaceOptions}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderrOf(err))
	}
	var letters []deadLetter
	if err := json.Unmarshal(out, &letters); err != nil {
		t.Fatalf("dead-letters list --json printed %q: %v", clip(string(out), 500), err)
	}
	return letters
}

func stderrOf(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Stderr
	}
	return nil
}
