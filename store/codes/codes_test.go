package codes_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/store/codes"
	"github.com/evently/workers/worker/redis/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func reader(t *testing.T, address string, timeout time.Duration) *codes.Reader {
	t.Helper()
	r, err := codes.New(codes.Config{Address: address, DB: 3, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// Codes are found under each spelling of the address and in each form that a service may
// store them in. A value that is no code is an error, and no code that was replaced.
func TestCode(t *testing.T) {
	server := redistest.Start(t)
	conn := server.Conn(3)
	defer conn.Close()
	for key, value := range map[string]string{
		"plain@example.com":    "042917",
		"mixed@example.com":    "112233",
		"Case@Example.com":     "445566",
		"text@example.com":     `"042917"`,
		"number@example.com":   " 42917\n",
		"object@example.com":   `{"otp": "042917", "attempts": 2}`,
		"named@example.com":    `{"code": 42917}`,
		"other@example.com":    `{"secret": "KXQWZJ1"}`,
		"nothing@example.com":  `{"otp": null}`,
		"broken@example.com":   `{"otp": "KXQW`,
		"empty@example.com":    "",
		"long@example.com":     strings.Repeat("KXQWZJ1", 20),
		"unquoted@example.com": `"KXQWZJ1`,
	} {
		if _, err := conn.Do("SET", "otp:verification:"+key, value, "EX", 600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Do("HSET", "otp:verification:hash@example.com", "otp", "KXQWZJ1"); err != nil {
		t.Fatal(err)
	}
	r := reader(t, server.Addr, 30*time.Second)
	for address, want := range map[string]string{
		"plain@example.com": "042917", "Mixed@Example.com ": "112233", "Case@Example.com": "445566", "text@example.com": "042917",
		"number@example.com": "42917", "object@example.com": "042917", "named@example.com": "42917",
		"nobody@example.com": "none", "": "none", "*": "none",
		"other@example.com": "error", "nothing@example.com": "error", "broken@example.com": "error", "empty@example.com": "error",
		"long@example.com": "error", "unquoted@example.com": "error", "hash@example.com": "error",
	} {
		got, ok, err := r.Code(t.Context(), address)
		switch {
		case err != nil && ok:
			t.Errorf("%q: a code and an error", address)
		case err != nil:
			if strings.Contains(err.Error(), "KXQW") || strings.Contains(err.Error(), "example.com") {
				t.Errorf("%q: the error shows too much: %v", address, err)
			}
			got = "error"
		case !ok:
			got = "none"
		}
		if got != want {
			t.Errorf("%q: %q, want %q (%v)", address, got, want, err)
		}
	}
}

// A Redis that is unavailable or frozen costs a moment, and works again by itself.
func TestUnavailable(t *testing.T) {
	server := redistest.Start(t)
	r := reader(t, server.Addr, 200*time.Millisecond)
	set := func() {
		conn := server.Conn(3)
		defer conn.Close()
		if _, err := conn.Do("SET", "otp:verification:ann@example.com", "042917"); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() (string, time.Duration, error) {
		start := time.Now()
		code, _, err := r.Code(context.Background(), "ann@example.com")
		return code, time.Since(start), err
	}
	answers := func(when string) {
		t.Helper()
		testkit.Eventually(t, 30*time.Second, "a code "+when, func() bool { code, _, err := ask(); return code == "042917" && err == nil })
	}
	set()
	answers("at first")
	server.Stop()
	if _, took, err := ask(); err == nil || took > 10*time.Second {
		t.Errorf("frozen: %v after %v", err, took)
	}
	server.Continue()
	server.Kill()
	if _, took, err := ask(); err == nil || took > 10*time.Second {
		t.Errorf("dead: %v after %v", err, took)
	}
	server.Up()
	set()
	answers("when it is up again")
}

// In a cluster each code is read from its own node, also while its slot moves, and any node
// will do to begin with.
func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, false, "--cluster-require-full-coverage", "no")
	r, err := codes.New(codes.Config{Address: "127.0.0.1:1," + cluster.Nodes[0].Addr, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	owners, people := map[*redistest.Server]string{}, map[string]string{}
	for i := range 20 {
		address, code := strings.Repeat("x", i+1)+"@example.com", fmt.Sprintf("%06d", i)
		key := "otp:verification:" + address
		people[address] = code
		owners[cluster.Owner(key)] = key
		conn := cluster.Owner(key).Conn(0)
		if _, err := conn.Do("SET", key, code); err != nil {
			t.Fatal(err)
		}
	}
	if len(owners) != 3 {
		t.Fatalf("the keys are on %d nodes", len(owners))
	}
	found := func(when string, gone *redistest.Server) {
		t.Helper()
		for address, want := range people {
			if gone != nil && cluster.Owner("otp:verification:"+address) == nil {
				continue
			}
			for _, spelling := range []string{address, strings.ToUpper(address[:1]) + address[1:]} {
				if got, ok, err := r.Code(t.Context(), spelling); got != want || !ok {
					t.Errorf("%s, %s: %q, %t, %v; want %s", when, spelling, got, ok, err, want)
				}
			}
		}
		if _, ok, err := r.Code(t.Context(), "none@example.com"); ok || err != nil && gone == nil {
			t.Errorf("%s: no code: %t, %v", when, ok, err)
		}
	}
	found("all are up", nil)
	moving := owners[cluster.Nodes[1]]
	cluster.BeginMove(moving, cluster.Nodes[2], func(string) bool { return true })
	found("a slot moves", nil)
	cluster.EndMove(moving, cluster.Nodes[2])
	found("a slot has moved", nil)
	cluster.Nodes[0].Kill()
	found("the first node is down", cluster.Nodes[0])
}

func TestNew(t *testing.T) {
	if _, err := codes.New(codes.Config{}); err == nil || !strings.Contains(err.Error(), "Address") {
		t.Errorf("without an address: %v", err)
	}
}
