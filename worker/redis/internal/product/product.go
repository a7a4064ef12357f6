// Package product tells which server answers, Redis or one that speaks its protocol, and
// whether that is new enough.
package product

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Product is a server and its version.
type Product struct {
	Name    string // such as Redis or Valkey
	Version string // its own; "": not told
	Redis   string // the version of Redis that it is compatible with; "": not told
}

// oldest is the first version of Redis that has all commands of the scripts, which is LPOS.
var oldest = [3]int{6, 0, 6}

// blocks is the first version that has BLMOVE. Queues are polled before it.
var blocks = [3]int{6, 2, 0}

// Of returns the server that has answered INFO so. A server that hides INFO is Redis without a
// version.
func Of(info map[string]string) Product {
	p := Product{Name: "Redis", Version: info["redis_version"], Redis: info["redis_version"]}
	for _, other := range []struct{ field, name string }{
		{"valkey_version", "Valkey"}, {"dragonfly_version", "Dragonfly"}, {"garnet_version", "Garnet"}, {"upstash_version", "Upstash"},
	} {
		if v := info[other.field]; v != "" {
			p.Name, p.Version = other.name, strings.TrimPrefix(v, "df-v")
		}
	}
	if p.Name == "Redis" && strings.Contains(info["executable"], "keydb") {
		p.Name = "KeyDB"
	}
	return p
}

// String returns the name and the version, such as "Valkey 9.1.2 (as Redis 7.2.4)".
func (p Product) String() string {
	switch {
	case p.Version == "":
		return p.Name + " of an unknown version"
	case p.Redis != "" && p.Redis != p.Version:
		return fmt.Sprintf("%s %s (as Redis %s)", p.Name, p.Version, p.Redis)
	}
	return p.Name + " " + p.Version
}

// Fault tells why the server cannot be used, "" if it can, or tells no version.
func (p Product) Fault() string {
	if p.isBefore(oldest) {
		return fmt.Sprintf("%s is too old: want Redis %d.%d.%d or newer, or Valkey", p, oldest[0], oldest[1], oldest[2])
	}
	return ""
}

// Polled reports whether the server lacks BLMOVE, so that its queues are polled.
func (p Product) Polled() bool { return p.isBefore(blocks) }

// isBefore reports whether the server tells a version before another one.
func (p Product) isBefore(other [3]int) bool {
	parts := strings.SplitN(p.Redis, ".", 3)
	for i, want := range other {
		if i == len(parts) {
			return false
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return false // not a version as Redis writes it
		}
		if c := cmp.Compare(n, want); c != 0 {
			return c < 0
		}
	}
	return false
}
