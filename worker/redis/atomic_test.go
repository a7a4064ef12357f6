package redis_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// stage is a server on which scenes are played.
type stage struct {
	t    *testing.T
	c, u redigo.Conn // of the administrator, and of a user whose rights change
}

// play calls the script of a scene as the user.
func (st stage) play(sc scene) error {
	text, err := redis.ScriptText(sc.script)
	if err == nil {
		_, err = st.u.Do("EVAL", slices.Concat([]any{text, len(sc.keys)}, sc.keys, sc.args)...)
	}
	return err
}

func (st stage) set(sc scene) {
	st.t.Helper()
	do(st.t, st.c, "FLUSHDB")
	for _, command := range sc.before {
		do(st.t, st.c, command[0].(string), command[1:]...)
	}
}

var at = regexp.MustCompile(`"at": ?"?[0-9.]+"?|at=[0-9.]+`)

// dump is what the keys hold, one line for each element, without times.
func (st stage) dump(without ...string) []string {
	st.t.Helper()
	var lines []string
	for _, key := range must(redigo.Strings(st.c.Do("KEYS", "*")))(st.t) {
		if slices.ContainsFunc(without, func(begin string) bool { return strings.HasPrefix(key, begin) }) {
			continue
		}
		kind := must(redigo.String(st.c.Do("TYPE", key)))(st.t)
		if kind == "stream" {
			for _, e := range must(redigo.Values(st.c.Do("XRANGE", key, "-", "+")))(st.t) {
				lines = append(lines, fmt.Sprintf("%s %s =%s", kind, key, e.([]any)[1]))
			}
			continue
		}
		read := map[string][]any{"string": {"GET"}, "list": {"LRANGE", 0, -1}, "hash": {"HGETALL"}, "set": {"SMEMBERS"}, "zset": {"ZRANGE", 0, -1}}[kind]
		reply := do(st.t, st.c, read[0].(string), append([]any{key}, read[1:]...)...)
		values, ok := reply.([]any)
		if !ok {
			values = []any{reply}
		}
		texts := must(redigo.Strings(values, nil))(st.t)
		if kind == "hash" {
			var pairs []string
			for i := 0; i < len(texts); i += 2 {
				pairs = append(pairs, texts[i]+"="+texts[i+1])
			}
			texts = pairs
		}
		if kind != "list" {
			slices.Sort(texts)
		}
		for _, text := range texts {
			if slices.ContainsFunc([]string{"limit.", "admit.", "slow."}, func(kind string) bool { return strings.HasPrefix(key, "_goworker.1."+kind) }) {
				text = "a time"
			}
			lines = append(lines, fmt.Sprintf("%s %s =%s", kind, key, at.ReplaceAllString(text, "")))
		}
	}
	slices.Sort(lines)
	return lines
}

// messages are the markers that are messages: wherever they end, they are never lost.
var messages = []string{`"one"`, `"two"`, "garbage", "next", "further", "corpse", "stray", "follower", "again", "first", "second", "back"}

// check tells of texts that are there too often, or are missing.
func (st stage) check(sc scene, when string) {
	st.t.Helper()
	st.checkSome(sc, when, slices.Collect(maps.Keys(sc.markers)))
}

func (st stage) checkSome(sc scene, when string, markers []string) {
	st.t.Helper()
	all := strings.Join(st.dump(), "\n")
	for _, text := range markers {
		want, ok := sc.markers[text]
		if n := strings.Count(all, text); ok && n != want {
			st.t.Errorf("%s: %q is there %d times, want %d:\n%s", when, text, n, want, all)
		}
	}
}

func eachScene(t *testing.T, play func(t *testing.T, st stage, sc scene)) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	names := map[string]bool{}
	for name, sc := range scenes() {
		names[sc.script] = true
		t.Run(name, func(t *testing.T) {
			do(t, c, "ACL", "SETUSER", "limited", "reset", "on", "nopass", "~*", "&*", "+@all")
			u := s.Conn(0)
			do(t, u, "AUTH", "limited", "")
			play(t, stage{t, c, u}, sc)
		})
	}
	for _, name := range redis.ScriptNames() {
		if !names[name] {
			t.Errorf("%s.lua has no scene", name)
		}
	}
}

// Redis takes nothing back of a script that fails: with a key of another type each script
// does nothing, or all that it is for.
func TestScriptsWithKeysOfAnotherType(t *testing.T) {
	t.Parallel()
	eachScene(t, func(t *testing.T, st stage, sc scene) {
		st.set(sc)
		if err := st.play(sc); err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		st.check(sc, "without a fault")
		named := map[string]bool{}
		for _, k := range sc.keys {
			named[k.(string)] = true
		}
		for _, k := range sc.touches {
			named[k] = true
		}
		for _, key := range slices.Sorted(maps.Keys(named)) {
			for _, fault := range [][]any{{"SET", key, "text"}, {"RPUSH", key, "text"}, {"HSET", key, "epoch", "text"}, {"SADD", key, "text"}} {
				st.set(sc)
				kept, err := redigo.Bytes(st.c.Do("DUMP", key))
				if err != nil && err != redigo.ErrNil {
					t.Fatal(err)
				}
				do(t, st.c, "DEL", key)
				do(t, st.c, fault[0].(string), fault[1:]...)
				before := st.dump(sc.repeatable...)
				when := fmt.Sprintf("%v", fault[:2])
				err = st.play(sc)
				if err != nil {
					if after := st.dump(sc.repeatable...); !slices.Equal(before, after) {
						t.Errorf("%s: failed with %v and has changed\n%s\nto\n%s", when, err, strings.Join(before, "\n"), strings.Join(after, "\n"))
					}
					do(t, st.c, "DEL", key)
					if kept != nil {
						do(t, st.c, "RESTORE", key, 0, kept)
					}
					if err := st.play(sc); err != nil {
						t.Errorf("%s: once it is mended: %v", when, err)
					}
					st.check(sc, when+", and mended")
				} else if kept == nil { // else the message may have been in it
					st.checkSome(sc, when, messages)
				}
			}
		}
	})
}

var called = regexp.MustCompile(`redis\.p?call\('(\w+)'|did\('(\w+)'`)

// Without the right to one of its commands each script does nothing, or all that it is for.
func TestScriptsWithoutARight(t *testing.T) {
	t.Parallel()
	eachScene(t, func(t *testing.T, st stage, sc scene) {
		text := must(redis.ScriptText(sc.script))(t)
		commands := map[string]bool{}
		for _, m := range called.FindAllStringSubmatch(text, -1) {
			commands[strings.ToLower(m[1]+m[2])] = true
		}
		const counts = "_goworker.1.crashes." // may be wrong by one
		st.set(sc)
		nothing := st.dump(counts)
		if err := st.play(sc); err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		clean, whole := st.dump(), st.dump(counts)
		for _, command := range slices.Sorted(maps.Keys(commands)) {
			st.set(sc)
			before := st.dump(sc.repeatable...)
			do(t, st.c, "ACL", "SETUSER", "limited", "-"+command)
			err := st.play(sc)
			if after := st.dump(sc.repeatable...); err != nil && !slices.Equal(before, after) {
				t.Errorf("-%s: failed with %v and has changed\n%s\nto\n%s", command, err, strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			do(t, st.c, "ACL", "SETUSER", "limited", "+"+command)
			drops := command == "xadd" || command == "xlen" || command == "xtrim" || command == "hincrby" // which the task survives
			if err == nil && sc.script != "restore" && !drops {
				after := st.dump(counts)
				if !slices.Equal(after, nothing) && !slices.Equal(after, whole) {
					t.Errorf("-%s has left out a part:\n%s\nwant\n%s", command, strings.Join(after, "\n"), strings.Join(whole, "\n"))
				}
			}
			if err != nil || sc.script == "restore" { // which leaves messages to others that may do more
				if err := st.play(sc); err != nil {
					t.Errorf("-%s: once it is granted: %v", command, err)
				}
				if after := st.dump(); !slices.Equal(clean, after) && sc.script != "fence" {
					t.Errorf("-%s, and granted:\n%s\nwant\n%s", command, strings.Join(after, "\n"), strings.Join(clean, "\n"))
				}
			}
			if command != "xadd" {
				st.check(sc, "-"+command)
			} else if sc.markers[entered] > 0 {
				if n := must(redigo.Int(st.c.Do("HGET", "_goworker.1.losses.s", "refused")))(st.t); n != 1 {
					t.Errorf("-xadd: %d entries are counted as dropped, want 1", n)
				}
			}
		}
	})
}

// A server that is full, or a replica, refuses the first command that writes: then nothing
// is done, or all of it.
func TestScriptsThatRedisRefuses(t *testing.T) {
	eachScene(t, func(t *testing.T, st stage, sc scene) {
		for name, fault := range map[string][2][]any{
			"full":      {{"CONFIG", "SET", "maxmemory", 1}, {"CONFIG", "SET", "maxmemory", 0}},
			"a replica": {{"REPLICAOF", "127.0.0.1", 1}, {"REPLICAOF", "NO", "ONE"}},
		} {
			st.set(sc)
			before := st.dump()
			do(t, st.c, fault[0][0].(string), fault[0][1:]...)
			err := st.play(sc)
			if after := st.dump(); err != nil && !slices.Equal(before, after) {
				t.Errorf("%s: failed with %v and has changed\n%s\nto\n%s", name, err, strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			do(t, st.c, fault[1][0].(string), fault[1][1:]...)
			if err != nil {
				if err := st.play(sc); err != nil {
					t.Errorf("%s, and over: %v", name, err)
				}
			}
			st.check(sc, name)
		}
	})
}
