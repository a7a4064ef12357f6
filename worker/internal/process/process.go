// Package process reports the resources that this process uses.
package process

import (
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"
)

// Resident returns the resident memory of the process in bytes. Linux reports it in statm
// (proc(5)); elsewhere it is the memory that Go's runtime holds.
func Resident() int64 {
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(text); len(fields) > 1 {
			if pages, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil {
				return pages * int64(os.Getpagesize())
			}
		}
	}
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}
