package redis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// Without the permission for BLMOVE the queues are polled, but not for ever: once it is given
// back, the worker need not restart.
func TestPollingEnds(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	do(t, c, "ACL", "SETUSER", "default", "-blmove")
	runWorker(t, redis.Config{URL: s.URL(0), PollInterval: 10 * time.Millisecond}, worker.Config{Tasks: nothing()})
	works := func() {
		t.Helper()
		id := send(t, c, "q", "nothing", "[]")
		eventually(t, "the task is done", func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
	works()
	do(t, c, "ACL", "SETUSER", "default", "+blmove")
	do(t, c, "CONFIG", "RESETSTAT")
	eventually(t, "the worker waits by BLMOVE", func() bool {
		stats := fmt.Sprintf("%s", do(t, c, "INFO", "commandstats"))
		_, after, used := strings.Cut(stats, "cmdstat_blmove:")
		line, _, _ := strings.Cut(after, "\n")
		return used && strings.Contains(line, "rejected_calls=0")
	})
	works()
}
