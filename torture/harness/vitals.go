package harness

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Vitals of a process, as /proc has them.
type Vitals struct {
	RSS int // resident memory, bytes
	FDs int // open file descriptors
}

// VitalsOf reads those of one process.
func VitalsOf(pid int) (Vitals, error) {
	var v Vitals
	dir := "/proc/" + strconv.Itoa(pid)
	statm, err := os.ReadFile(dir + "/statm")
	if err != nil {
		return v, fmt.Errorf("vitals of a process: %w", err)
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return v, fmt.Errorf("vitals of a process: %s/statm is %q", dir, statm)
	}
	pages, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return v, fmt.Errorf("vitals of a process: %w", err)
	}
	v.RSS = pages * os.Getpagesize()
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return v, fmt.Errorf("vitals of a process: %w", err)
	}
	v.FDs = len(fds)
	return v, nil
}
