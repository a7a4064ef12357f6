package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// programs are the binaries under test, built once with the race detector.
type programs struct {
	service    string // evently-workers
	testworker string // the library with tasks made for tests
}

// bin is set by TestMain alone, before the first test.
var bin programs

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "evently-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = programs{service: filepath.Join(dir, "evently-workers"), testworker: filepath.Join(dir, "testworker")}
	for output, source := range map[string]string{bin.service: "..", bin.testworker: "./cmd/testworker"} {
		build := exec.Command("go", "build", "-race", "-o", output, source)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: %v: %v\n%s", build, err, out)
			return 1
		}
	}
	return m.Run()
}
