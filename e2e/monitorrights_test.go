package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The recipes of docs/operations.md for the monitor are enough for its pages. The server refuses the
// user "viewer" the commands that change something, and no others.
func TestRightsOfTheMonitor(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for user, refused := range map[string]string{"monitor": "", "viewer": "set sadd publish xadd"} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			redis := startRedis(t)
			_, block, ok := strings.Cut(string(text), "```\nACL SETUSER "+user+" ")
			block, _, _ = strings.Cut(block, "```")
			if !ok {
				t.Fatalf("docs/operations.md has no recipe for %s", user)
			}
			args := []any{"SETUSER", user}
			for _, w := range strings.Fields(block) {
				if strings.HasPrefix(w, `"`) { // as redis-cli reads it
					if w, err = strconv.Unquote(w); err != nil {
						t.Fatal(err)
					}
				}
				args = append(args, w)
			}
			redis.do("ACL", args...)
			redis.do("LPUSH", queue, "a message")
			port := freePort(t)
			monitor := start(t, "evently-workers monitor", []string{
				"REDIS_URL=redis://" + user + ":secret@" + redis.addr() + "/0", "MONITOR_ADDR=127.0.0.1:" + port,
				"SMTP_HOST=127.0.0.1", "DATABASE_URL=postgres://none@127.0.0.1:1/none", "LEDGER_DATABASE_URL=off",
			}, bin.service, "monitor")
			url := "http://127.0.0.1:" + port
			for _, path := range []string{"/", "/queues", "/queues/" + queue, "/workers", "/tasks", "/dead-letters", "/jobs", "/scheduled", "/audit", "/health", "/configuration", "/incident"} {
				eventually(t, 60*time.Second, path+" is shown", func() bool {
					if monitor.ended() {
						t.Fatalf("the monitor ended:\n%s", monitor.out.String())
					}
					reply, err := http.Get(url + path)
					if err != nil {
						return false
					}
					reply.Body.Close()
					return reply.StatusCode == http.StatusOK
				})
			}
			for _, entry := range redis.do("ACL", "LOG").([]any) {
				fields := entry.([]any)
				told := map[string]string{}
				for i := 0; i+1 < len(fields); i += 2 {
					told[fmt.Sprintf("%s", fields[i])] = fmt.Sprintf("%s", fields[i+1])
				}
				if told["reason"] != "command" || !strings.Contains(" "+refused+" ", " "+told["object"]+" ") {
					t.Errorf("refused: %s %s", told["reason"], told["object"])
				}
			}
		})
	}
}
