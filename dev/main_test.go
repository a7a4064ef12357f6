package dev

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The interpreter of SQLite keeps no goroutine; database/sql, miniredis and
	// the servers must have ended theirs when Run returns.
	goleak.VerifyTestMain(m)
}
