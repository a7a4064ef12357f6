package e2e_test

import (
	"testing"

	"github.com/evently/workers/internal/testkit"
)

// redisServer is a [testkit.Redis] under the short names of these tests.
type redisServer struct {
	*testkit.Redis
	t    testing.TB
	port string
	proc *process
}

func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	r := testkit.StartRedis(t, args...)
	return &redisServer{Redis: r, t: t, port: r.Port, proc: named(r.Proc)}
}

func (r *redisServer) start() {
	r.t.Helper()
	r.Start()
	r.proc = named(r.Proc)
}

func (r *redisServer) addr() string                        { return r.Addr() }
func (r *redisServer) url() string                         { return r.URL() }
func (r *redisServer) do(command string, args ...any) any  { return r.Do(command, args...) }
func (r *redisServer) int(command string, args ...any) int { return r.Int(command, args...) }
func (r *redisServer) strings(command string, args ...any) []string {
	return r.Strings(command, args...)
}
func (r *redisServer) waiting(queue string) int                     { return r.Waiting(queue) }
func (r *redisServer) results(ids []string) map[string]storedResult { return r.Results(ids) }
func (r *redisServer) runs() map[string]int                         { return r.Runs() }
func (r *redisServer) nowhere(queue string, ids []string) []string  { return r.Nowhere(queue, ids) }
func (r *redisServer) settled(queue string)                         { r.t.Helper(); r.Settled(queue) }
func (r *redisServer) dump(key string) string                       { return r.Dump(key) }

type storedResult = testkit.StoredResult

func freePort(t testing.TB) string { return testkit.FreePort(t) }
