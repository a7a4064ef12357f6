package testkit_test

import (
	"encoding/base64"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// A spy hears what is written in base64 too, and goes on after a restart of Redis.
func TestSpy(t *testing.T) {
	t.Parallel()
	r := testkit.StartRedis(t)
	spy := testkit.Listen(t, r)
	r.Do("PUBLISH", "first", `{"body": "`+base64.StdEncoding.EncodeToString([]byte("the word is swordfish"))+`"}`)
	testkit.Eventually(t, 10*time.Second, "the first is heard", func() bool { return strings.Contains(spy.Text(), "swordfish") })
	r.Proc.Signal(syscall.SIGKILL)
	<-r.Proc.Done
	r.Start()
	testkit.Eventually(t, 10*time.Second, "one is heard after the restart", func() bool {
		r.Do("PUBLISH", "second", "still there")
		return strings.Contains(spy.Text(), "second still there")
	})
}
