// Package examine finds out what a user of a Redis server may do, by trying each command of the
// worker on a key that no other client uses.
package examine

import (
	"errors"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/redis/internal/conn"
)

// Lack is a right that the user of the server has not, or a command that the server has not.
type Lack struct {
	Right    string `json:"right"`    // as ACL SETUSER takes it, such as "+blmove" or "~unacked"
	Cost     string `json:"cost"`     // what does not work without it
	Required bool   `json:"required"` // without it the worker does not work
}

// costs are the commands that a worker can do without, and what it then does not.
var costs = map[string]string{
	"blmove":      "queues are polled ten times a second",
	"evalsha":     "each script is sent in full",
	"info":        "the version and the settings of the server are not known",
	"time":        "the clock of the server is not known to the monitor",
	role:          "a master that was demoted is noticed later",
	"subscribe":   "no remote control; waiting for results does not work",
	"unsubscribe": "no remote control; waiting for results does not work",
	"psubscribe":  "no remote control",
	"publish":     "no events, and no client is told of a result",
	"brpop":       "questions to other workers get no answers",
	"xadd":        "what tasks record is dropped",
	"xlen":        "the backlog of what tasks record is not known",
	"xrange":      "what tasks record is not read",
	"xdel":        "what tasks record is not removed once it is read",
	"xtrim":       "what tasks record is not bounded",
	"lrange":      "no look at a backlog before it is claimed; chords without result_chord_ordered do not end",
	"lrem":        "no claims around held tasks",
	"lpos":        "no claims around held tasks",
}

const (
	role = "role"

	subscribe, psubscribe, unsubscribe = "subscribe", "psubscribe", "unsubscribe"

	// keyLife bounds the life of the key, should the connection break.
	keyLife = 60
	// briefly is the time in seconds that commands block.
	briefly = 0.01
)

// probes are the commands that are tried, on a key that none has: its type does not matter.
func probes(key string, db int) [][]any {
	return [][]any{
		{"ping"}, {"select", db}, {"info", "server"}, {role}, {"time"}, {"eval", "return 1", 0}, {"evalsha", strings.Repeat("0", 40), 0},
		{"publish", key, ""},
		{"set", key, 0, "EX", keyLife}, {"incrby", key, 1}, {"get", key}, {"getrange", key, 0, 0}, {"mget", key}, {"exists", key}, {"expire", key, keyLife}, {"del", key},
		{"hset", key, "f", 0}, {"expire", key, keyLife}, {"hget", key, "f"}, {"hexists", key, "f"}, {"hmget", key, "f"}, {"hlen", key}, {"hkeys", key},
		{"hincrby", key, "f", 1}, {"hdel", key, "f"}, {"del", key},
		{"sadd", key, 0}, {"expire", key, keyLife}, {"srem", key, 1}, {"smembers", key}, {"sismember", key, 0}, {"del", key},
		{"zadd", key, 0, 0}, {"expire", key, keyLife}, {"zrem", key, 1}, {"zrange", key, 0, 0}, {"zrangebyscore", key, 1, 1}, {"zrevrange", key, 0, 0},
		{"zrevrangebyscore", key, 1, 1}, {"zscan", key, 0}, {"zscore", key, 0}, {"zcard", key}, {"zremrangebyscore", key, 1, 1},
		{"zremrangebyrank", key, 1, 1}, {"del", key},
		{"lpush", key, 0}, {"rpush", key, 0}, {"expire", key, keyLife}, {"llen", key}, {"lindex", key, 0}, {"lrange", key, 0, 0}, {"lrem", key, 0, 1},
		{"lpos", key, 1}, {"ltrim", key, 0, 0}, {"blmove", key, key, "RIGHT", "RIGHT", briefly}, {"brpop", key, briefly}, {"del", key},
		{"xadd", key, "*", "a", "b"}, {"expire", key, keyLife}, {"xlen", key}, {"xrange", key, "-", "+"}, {"xdel", key, "0-1"}, {"xtrim", key, "MAXLEN", 0}, {"del", key},
	}
}

// Commands returns the names of the commands that are tried.
func Commands() []string {
	names := []string{subscribe, psubscribe, unsubscribe}
	for _, p := range probes("", 0) {
		names = append(names, p[0].(string))
	}
	sort.Strings(names)
	return slices.Compact(names)
}

// Config says what is tried.
type Config struct {
	Probe   string   // a key that none has, below those of the worker; a channel as well
	Own     string   // pattern of those keys
	DB      int      // the database
	Follows bool     // Sentinels or the nodes of a cluster name the server
	Keys    []string // keys of each pattern that the worker uses
	Pattern string   // the channels that the worker listens to; a user has a right to the same pattern
}

// Run tries the commands and keys over c, which it closes. The error is that of a connection, or
// one that [Fault] explains.
func Run(c redigo.Conn, cfg Config) (lacks []Lack, err error) {
	defer c.Close()
	for _, p := range probes(cfg.Probe, cfg.DB) {
		name := p[0].(string)
		if name == role && !cfg.Follows {
			continue
		}
		_, err := redigo.DoWithTimeout(c, time.Second, name, p[1:]...)
		if c.Err() != nil || Fault(err) != "" {
			return nil, err
		}
		lacks = note(lacks, name, cfg, err)
	}
	for _, key := range cfg.Keys {
		_, err := c.Do("EXISTS", key)
		if c.Err() != nil {
			return nil, err
		}
		if isRefused(err, "key") {
			right := "~" + strings.ReplaceAll(key, "?", "*")
			if strings.Contains(key, "\x06") { // of a priority
				right = strconv.Quote(right)
			}
			lacks = append(lacks, Lack{right, "these keys cannot be used", true})
		}
	}
	for _, name := range []string{subscribe, psubscribe, unsubscribe} { // the last ones: other commands are refused then
		channel := cfg.Probe
		if name == psubscribe {
			channel = cfg.Pattern
		}
		_, err := subscribed(c, name, channel)
		if c.Err() != nil {
			return nil, err
		}
		lacks = note(lacks, name, cfg, err)
	}
	return lacks, nil
}

// subscribed sends one command of channels and reads its reply.
func subscribed(c redigo.Conn, command, channel string) (any, error) {
	if err := errors.Join(c.Send(command, channel), c.Flush()); err != nil {
		return nil, err
	}
	return c.Receive()
}

func hasLack(lacks []Lack, right string) bool {
	return slices.ContainsFunc(lacks, func(l Lack) bool { return l.Right == right })
}

// isRefused reports whether the user may not use a key, or a channel. Redis since 7.2 says so in
// other words than before.
func isRefused(err error, what string) bool {
	return conn.HasCode(err, "NOPERM") && strings.Contains(err.Error(), "access") && strings.Contains(err.Error(), what)
}

// note adds what a refusal tells: a command, keys or a channel.
func note(lacks []Lack, name string, cfg Config, err error) []Lack {
	lack := Lack{Right: "+" + name}
	var optional bool
	lack.Cost, optional = costs[name]
	switch {
	case isRefused(err, "key"):
		lack.Right, lack.Cost, optional = "~"+cfg.Own, "these keys cannot be used", false
	case isRefused(err, "channel") && name == psubscribe:
		lack.Right, lack.Cost = "&"+cfg.Pattern, "no remote control"
	case isRefused(err, "channel"):
		lack.Right, lack.Cost, optional = "&"+cfg.Own, "workers do not tell each other of changes", true
	case !conn.IsUnavailable(err) && (name != "evalsha" || !conn.IsHashless(err)):
		return lacks
	}
	if hasLack(lacks, lack.Right) {
		return lacks
	}
	if lack.Required = !optional; lack.Cost == "" {
		lack.Cost = "the worker does not work"
	}
	return append(lacks, lack)
}
