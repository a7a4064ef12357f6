package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// identity tells processes on one machine apart, so that the death of a
// sibling can be proven instead of waited for.
type identity struct {
	Boot  string `json:"boot"`  // id of the boot of the machine
	Space string `json:"space"` // namespace that PID counts in
	PID   int    `json:"pid"`
	Start string `json:"start"` // start of the process, in ticks since the boot
}

// thisProcess is empty where the system does not tell.
func thisProcess() identity {
	id := identity{PID: os.Getpid()}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}
	}
	id.Boot = strings.TrimSpace(string(boot))
	if id.Space, err = os.Readlink("/proc/self/ns/pid"); err != nil {
		return identity{}
	}
	start, _, ok := processStat(id.PID)
	if !ok {
		return identity{}
	}
	id.Start = start
	return id
}

// dead reports whether other, seen from id, is proven to be gone.
func (id identity) dead(other identity) bool {
	if id.Boot == "" || other.Boot != id.Boot || other.Space != id.Space || other.PID == 0 {
		return false
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return false
	}
	start, state, ok := processStat(other.PID)
	if !ok {
		// What cannot be read may live: /proc hides the processes of others from
		// some users (hidepid). The kernel does not.
		return errors.Is(syscall.Kill(other.PID, 0), syscall.ESRCH)
	}
	return start != other.Start || state == "Z" || state == "X"
}

// processStat reads the start time and the state of a process; ok is false when
// there is none.
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

func (id identity) encode() (string, error) {
	b, err := json.Marshal(id)
	if err != nil {
		return "", fmt.Errorf("encode identity: %w", err)
	}
	return string(b), nil
}

func decodeIdentity(s string) identity {
	var id identity
	if json.Unmarshal([]byte(s), &id) != nil {
		return identity{}
	}
	return id
}
