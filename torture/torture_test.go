package main

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/evently/workers/torture/harness"
	"github.com/evently/workers/torture/rows"
)

// seed is new for each run, and that of TORTURE_SEED when it is set.
func seed(t *testing.T) uint64 {
	t.Helper()
	value := uint64(time.Now().UnixNano())
	if text := os.Getenv("TORTURE_SEED"); text != "" {
		var err error
		if value, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("TORTURE_SEED: %v", err)
		}
	}
	t.Logf("seed %d; TORTURE_SEED=%[1]d repeats it", value)
	return value
}

// TestRows runs the short form of every row against our worker, with the race
// detector in it. Most of them wait most of the time, each for servers of its own,
// so they run side by side; "make torture-short" says how many.
func TestRows(t *testing.T) {
	t.Parallel()
	value := seed(t)
	ours := harness.Ours(harness.Build(t, t.TempDir(), "testworker", harness.TestWorker, "-race"))
	ours.Race, ours.Flags = true, []string{"-race"}
	for _, row := range rows.All() {
		if row.Soak {
			continue // minutes are the least that tells anything
		}
		t.Run(row.ID, func(t *testing.T) {
			t.Parallel()
			run := harness.NewRun(t, ours, false, value)
			row.Run(run)
			if run.Figures() == "" && !t.Failed() {
				t.Error("the row has no figure: it measured nothing")
			}
		})
	}
}
