package injector_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/injector"
)

func TestMain(m *testing.M) {
	// Every goroutine that waits for the server must have ended.
	goleak.VerifyTestMain(m)
}

func TestRules(t *testing.T) {
	r := testkit.StartRedis(t)
	p, err := injector.New(r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	c, err := redis.Dial("tcp", p.Addr(), redis.DialReadTimeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	script := redis.NewScript(0, "-- a phrase to know it by\nreturn {1, {'two', false}}")
	ask := func(want string) {
		t.Helper()
		if _, err := script.Do(c); want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("script: %v, want %q", err, want)
		}
	}
	ask("")
	p.Set(injector.Rule{Command: "phrase to know", Error: "LOADING for a while"})
	ask("LOADING")
	if _, err := c.Do("SET", "key", strings.Repeat("x", 100_000)); err != nil {
		t.Errorf("a command beside the script: %v", err)
	}
	if p.Hits() != 1 {
		t.Errorf("%d hits, want 1", p.Hits())
	}
	p.Set(injector.Rule{Command: "phrase to know", Error: "NOSCRIPT who"})
	ask("") // it sends the text
	p.Set(injector.Rule{Command: "GET", Error: "MASTERDOWN gone"})
	if _, err := c.Do("GET", "key"); err == nil || !strings.HasPrefix(err.Error(), "MASTERDOWN") {
		t.Errorf("GET: %v", err)
	}
	p.Set(injector.Rule{})
	if text, err := redis.String(c.Do("GET", "key")); err != nil || len(text) != 100_000 {
		t.Errorf("GET without a rule: %d bytes, %v", len(text), err)
	}
}
