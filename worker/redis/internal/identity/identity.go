// Package identity tells processes on one machine apart, so that the death of a process
// can be proven instead of waited for.
package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Process identifies a process. The zero value identifies none.
type Process struct {
	Boot  string `json:"boot"`  // id of the boot of the machine
	Space string `json:"space"` // PID namespace
	PID   int    `json:"pid"`
	Start string `json:"start"` // start of the process, in ticks since the boot
}

// This returns the identity of this process, or the zero value where the system does not
// provide it.
func This() Process {
	id := Process{PID: os.Getpid()}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}
	}
	id.Boot = strings.TrimSpace(string(boot))
	if id.Space, err = os.Readlink("/proc/self/ns/pid"); err != nil {
		return Process{}
	}
	start, _, ok := processStat(id.PID)
	if !ok {
		return Process{}
	}
	id.Start = start
	return id
}

// ProvesDead reports whether other, seen from id, is proven to have ended.
func (id Process) ProvesDead(other Process) bool {
	if id.Boot == "" || other.Boot != id.Boot || other.Space != id.Space || other.PID == 0 {
		return false
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return false
	}
	start, state, ok := processStat(other.PID)
	if !ok {
		// An unreadable process may live: /proc hides the processes of other users from
		// some users (hidepid). The kernel does not.
		return errors.Is(syscall.Kill(other.PID, 0), syscall.ESRCH)
	}
	return start != other.Start || state == "Z" || state == "X"
}

// processStat reads the start time and the state of a process; ok is false when the
// process does not exist.
func processStat(pid int) (start, state string, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", false
	}
	// The second field is the command in parentheses and may hold anything.
	_, rest, ok := strings.Cut(string(b), ") ")
	if i := strings.LastIndex(string(b), ") "); ok && i >= 0 {
		rest = string(b)[i+2:]
	}
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", "", false
	}
	return fields[19], fields[0], true
}

// Encode returns id as text.
func (id Process) Encode() (string, error) {
	b, err := json.Marshal(id)
	if err != nil {
		return "", fmt.Errorf("encode identity: %w", err)
	}
	return string(b), nil
}

// Decode reads the text of Encode. Other text identifies no process.
func Decode(s string) Process {
	var id Process
	if json.Unmarshal([]byte(s), &id) != nil {
		return Process{}
	}
	return id
}
