//go:build !unix

package process

// Usage returns "N/A": the system does not report resource usage.
func Usage() any { return "N/A" }
