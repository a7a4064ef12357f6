package site_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/evently/workers/app"
)

// asWorker is the variable that makes the test program a worker.
const asWorker = "SITE_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		if err := app.Run(context.Background(), os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
