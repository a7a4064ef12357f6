package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// TestMaxMemory lets the service find out, after a task, that it is larger than
// it may be: it ends in order, and the task has its result.
func TestMaxMemory(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	service := p.startService(t, "MAX_MEMORY=16MiB") // less than any Go program of this kind has
	answers := produce(t, celeryNew, p.redis.url(), []call{{Label: "one", Via: "send_task", Task: prefix + "health_check"}})
	if a := answers["one"]; a.State != "SUCCESS" {
		t.Errorf("task ended as %s: %s", a.State, a.Message)
	}
	if code := service.wait(30 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if out := service.out.String(); !strings.Contains(out, "memory limit exceeded") {
		t.Errorf("the log does not say why:\n%s", last(out, 2000))
	}
	p.redis.settled(queue)
}
