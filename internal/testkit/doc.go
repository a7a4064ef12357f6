// Package testkit starts what tests break: redis-server and Redis Sentinel,
// workers of ours and of Celery, and counts what became of every task. It serves
// the tests of e2e and the program torture.
package testkit

import "context"

// T is what the kit needs of a test. A *testing.T is one; torture has its own, as
// its rows run outside of "go test" as well. Fatalf ends the calling goroutine.
type T interface {
	Helper()
	Context() context.Context
	TempDir() string
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}
