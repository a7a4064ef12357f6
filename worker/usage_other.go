//go:build !unix

package worker

import "runtime"

func resourceUsage() any { return "N/A" }

// residentSize is what Go has asked the system for.
func residentSize() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
