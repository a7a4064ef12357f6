package site_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli"
)

// asWorker is the variable that makes the test program a worker.
const asWorker = "SITE_TEST_WORKER"

// asCommand is the variable that makes the test program the program.
const asCommand = "SITE_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		if err := app.Run(context.Background(), os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(asCommand) != "" {
		os.Exit(cli.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}
