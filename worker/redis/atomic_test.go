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

// A scene is a call of one script, and the keys before it.
type scene struct {
	script     string
	before     [][]any // commands
	keys       []any
	args       []any
	touches    []string       // further keys that the script reads or writes, named by args
	repeatable []string       // beginnings of keys that a call which fails may write: to write them again is harmless
	markers    map[string]int // texts, and how often each is there in the end
}

const (
	deadRaws, deadMetas, deadIndex = "_goworker.1.dead", "_goworker.1.dead.meta", "_goworker.1.dead.index"
	ownerKey                       = "_goworker.1.owner.me"
)

// held enters claims as unacknowledged.
func held(claims ...string) (commands [][]any) {
	for _, c := range claims {
		commands = append(commands, []any{"HSET", "unacked", c, `["raw of ` + c + `", "", "q"]`}, []any{"ZADD", "unacked_index", 1, c})
	}
	return commands
}

func with(commands [][]any, more ...[]any) [][]any { return append(commands, more...) }

// fineRaw is a message that claim.lua is sure of.
func fineRaw(id string) string {
	return fmt.Sprintf(`{"body": "W10=", "headers": {"id": %q, "task": "t"}, "properties": {"delivery_tag": "d", `+
		`"delivery_info": {"exchange": "", "routing_key": "q"}}}`, id)
}

func scenes() map[string]scene {
	books := []any{"unacked", "unacked_index"}
	graves := []any{deadRaws, deadMetas, deadIndex}
	keys := func(parts ...[]any) []any { return slices.Concat(parts...) }
	owned := []any{"HSET", ownerKey, "epoch", 1}
	result := `{"status": "RETRY", "result": null}`
	chord := func(base string) [][]any {
		return [][]any{{"SET", base + ".s", 2}, {"ZADD", base + ".j", 0, `[1, "first", "SUCCESS", 1]`}, {"SADD", base + ".d", "first:0"}}
	}
	return map[string]scene{
		"claim": {
			script: "claim", keys: keys(books, []any{ownerKey}, graves, []any{"q", "r"}),
			before: [][]any{owned, {"LPUSH", "q", fineRaw("one"), "garbage"}, {"LPUSH", "r", fineRaw("two")}},
			args: []any{1, "me:", 1, 10, 1 << 20, 1 << 20, 10, 1000, "_goworker.1.crashes.", "turns", 2, "q", 1, 1, "r", 1, 2, 0,
				"garbage", "not-json"},
			markers: map[string]int{`"one"`: 1, `"two"`: 1, "garbage": 1},
		},
		"claimseen": {
			script: "claimseen", keys: keys(books, []any{ownerKey, "q", "r"}),
			before:  [][]any{owned, {"LPUSH", "q", fineRaw("one"), fineRaw("two")}},
			args:    []any{1, "me:", 1, 10, "[" + fineRaw("one") + `, "", "q"]`, "[" + fineRaw("two") + `, "", "q"]`},
			markers: map[string]int{`"one"`: 1, `"two"`: 1},
		},
		"start": {
			script: "start", keys: []any{"unacked", "celery-task-meta-i", "_goworker.1.crashes.i"},
			before:     with(held("c"), []any{"HSET", "_goworker.1.crashes.i", "n", 1, "claim", "b"}),
			args:       []any{"c", `{"status": "STARTED"}`, 100, "1", "1", "g", "0", "i", "[1"},
			touches:    []string{"g.j", "g.d", "g.c"},
			repeatable: []string{"celery-task-meta-"},
			markers:    map[string]int{"STARTED": 1},
		},
		"starts": {
			script: "starts", keys: []any{"unacked", "celery-task-meta-i", "celery-task-meta-j"}, before: held("c", "d"),
			args:       []any{100, "c", `{"status": "STARTED"}`, "d", `{"status": "STARTED"}`},
			repeatable: []string{"celery-task-meta-"},
			markers:    map[string]int{"STARTED": 2},
		},
		"settle: retry": {
			script: "settle", keys: keys(books, []any{"celery-task-meta-i", "unacked"}, graves, []any{"_goworker.1.crashes.i"}),
			before:  with(held("c"), []any{"HSET", "_goworker.1.crashes.i", "n", 1, "claim", "b"}),
			args:    []any{"c", result, 100, "0", "q", "next", "", "", "", "", 10, 1000},
			touches: []string{"q"},
			markers: map[string]int{"RETRY": 1, "next": 1},
		},
		"settle: dead letter and callback": {
			script: "settle", keys: keys(books, []any{"celery-task-meta-i", "unacked"}, graves, []any{"unacked"}), before: held("c"),
			args:    []any{"c", result, 100, "0", "q", "next", "", "corpse", `{"queue": "q"}`, "c", 10, 1000},
			touches: []string{"q"},
			markers: map[string]int{"RETRY": 1, "next": 1, "corpse": 1},
		},
		"settle: requeue": {
			script: "settle", keys: keys(books, []any{"unacked", "q"}, graves, []any{"_goworker.1.crashes.i"}), before: held("c"),
			args:    []any{"c", "", 100, "0", "", "", "again", "", "", "", 10, 1000},
			markers: map[string]int{"again": 1},
		},
		"finish": {
			script: "finish", keys: keys(books, []any{"celery-task-meta-i", "unacked"}), before: held("c", "d", "e"),
			args:       []any{100, "c", result, "0", "d", "", "0"},
			repeatable: []string{"celery-task-meta-"},
			markers:    map[string]int{"RETRY": 1, "raw of c": 0, "raw of d": 0, "raw of e": 1},
		},
		"carry": {
			script: "carry", keys: keys(books, graves, []any{"_goworker.1.step.c", "_goworker.1.crashes.i", "unacked"}),
			before: with(held("c"), slices.Concat(chord("g"), [][]any{{"SET", "j.t", 5}, {"SADD", "j.d", "x"}})...),
			args: []any{"c", "c", 0, "1", "1", 3, "", "corpse", `{"queue": "q"}`, "c", 10, 1000, "0",
				"own", "celery-task-meta-i", result, 100, "0", "size", "h", 3, 100, "set", "h", "group", 100, "join", "j", 2, 100,
				"store", "celery-task-meta-k", result, 100, "member", "n", 1, `[1, "c", "SUCCESS", 1]`, "c", 100, "",
				"push", "q", "next", "push", "r", "further", "bury", "stray", `{"queue": "nowhere"}`},
			touches: []string{"celery-task-meta-i", "celery-task-meta-k", "h", "h.s", "h.c", "j.t", "n.j", "n.d", "n.c", "q", "r"},
			// The sizes of groups; their members are published in the same step, or not at all.
			repeatable: []string{"h"},
			markers:    map[string]int{"RETRY": 2, "next": 1, "further": 1, "stray": 1, "corpse": 1, `[1, "c",`: 1},
		},
		"carry: a chord that is complete": {
			script: "carry", keys: keys(books, graves, []any{"_goworker.1.step.c", "unacked", "unacked"}),
			before: with(held("c"), chord("g")...),
			args: []any{"c", "c", 0, "1", "1", 3, "", "", "", "", 10, 1000, "0", "own", "celery-task-meta-i", result, 100, "0",
				"member", "g", 1, `[1, "c", "SUCCESS", 1]`, "c", 100, "", "push", "q", "next"},
			touches:    []string{"celery-task-meta-i", "g.j", "g.s", "g.t", "g.d", "g.c", "q"},
			repeatable: []string{"g.c"},
			markers:    map[string]int{"RETRY": 1, "next": 1, `[1, "c",`: 1},
		},
		"carry: the body of a chord": {
			script: "carry", keys: keys(books, graves, []any{"_goworker.1.step.c", "unacked", "unacked"}),
			before: with(held("c"), slices.Concat(chord("g"), [][]any{{"SET", "g.c", "c"}})...),
			args: []any{"c", "c", 1, "1", "1", 3, "", "", "", "", 10, 1000, "0",
				"body", "g", "0", 300, "push", "q", "follower", "store", "celery-task-meta-k", result, 100, "end"},
			touches:    []string{"celery-task-meta-k", "g.j", "g.s", "g.t", "g.d", "g.c", "q"},
			repeatable: []string{"g.c"},
			markers:    map[string]int{"RETRY": 1, "follower": 1},
		},
		"carry: acknowledged before": {
			script: "carry", keys: keys(books, graves, []any{"_goworker.1.step.c", "unacked", "q"}),
			args: []any{"", "tag", 0, "1", "1", 3, "again", "", "", "", 10, 1000, "0", "push", "q", "next",
				"member", "n", 1, `[1, "c", "SUCCESS", 1]`, "c", 100, ""},
			touches: []string{"n.j", "n.d", "n.c"},
			markers: map[string]int{"next": 1, "again": 1, `[1, "c",`: 1},
		},
		"carry: unordered chords": {
			script: "carry", keys: keys(books, graves, []any{"_goworker.1.step.c", "unacked", "unacked"}), before: held("c"),
			args: []any{"c", "c", 0, "1", "0", 3, "", "", "", "", 10, 1000, "0", "push", "q", "next",
				"member", "n", 1, `[1, "c", "SUCCESS", 1]`, "c", 100, ""},
			touches: []string{"n.j", "n.d", "n.c", "q"},
			markers: map[string]int{"next": 1, `[1, "c",`: 1},
		},
		"giveback": {
			script: "giveback", keys: keys(books, graves, []any{"q", "_goworker.1.crashes.i", "r", "unacked"}), before: held("c", "d"),
			args:    []any{10, 1000, "d", "second", "{}", "1", "c", "first", "{}", "1"},
			markers: map[string]int{"first": 1, "second": 1},
		},
		"restore: back to its queue": {
			script: "restore", keys: keys(books, []any{"_goworker.1.owners"}, graves), before: with(held("c"), []any{"SET", "g.c", "c"}),
			args:    []any{"me", 15, 10, 1000, "c", "", "back", "back", "{}", "g.c", 1, "q"},
			touches: []string{"q", "g.c"},
			markers: map[string]int{"back": 1},
		},
		"restore: no way back": {
			script: "restore", keys: keys(books, []any{"_goworker.1.owners"}, graves), before: held("d"),
			args:    []any{"", 15, 10, 1000, "d", "1", "", "corpse", "{}", "", 0},
			markers: map[string]int{"corpse": 1},
		},
		"renew": {
			script: "renew", keys: keys(books, []any{ownerKey}), before: with(held("c"), owned), args: []any{1, "c", "gone"},
			markers: map[string]int{"raw of c": 1},
		},
		"heartbeat": {
			script: "heartbeat", keys: []any{"_goworker.1.owners", ownerKey}, before: [][]any{owned, {"ZADD", "_goworker.1.owners", 1, "other"}},
			args: []any{"me", 15, "_goworker.1.owner."}, touches: []string{"_goworker.1.owner.other"}, repeatable: []string{"_goworker.1.owners"}, markers: map[string]int{"=me": 1},
		},
		"fence": {
			script: "fence", keys: []any{"_goworker.1.owners", ownerKey}, before: [][]any{owned, {"ZADD", "_goworker.1.owners", 1, "me"}},
			args: []any{"me", 15}, repeatable: []string{ownerKey},
		},
		"dismiss": {
			script: "dismiss", keys: []any{"_goworker.1.owners", ownerKey}, before: [][]any{owned, {"ZADD", "_goworker.1.owners", 1, "me"}},
			args: []any{"me", 15, "1"}, repeatable: []string{ownerKey}, markers: map[string]int{"=me": 0},
		},
		"revive": {
			script: "revive", keys: keys(graves, []any{"q", "_goworker.1.crashes.i", "celery-task-meta-i"}),
			before: [][]any{{"HSET", deadRaws, "x", "old"}, {"HSET", deadMetas, "x", "{}"}, {"ZADD", deadIndex, 1, "x"},
				{"SET", "celery-task-meta-i", result}, {"HSET", "_goworker.1.crashes.i", "n", 1}},
			args: []any{"x", "again"}, markers: map[string]int{"again": 1, "old": 0},
		},
		"revoke": {
			script: "revoke", keys: []any{"_goworker.1.revoked", "_goworker.1.revoked.stamps"},
			args:    []any{1000, 10, 100, 1, "id", "celery-task-meta-id", `{"status": "REVOKED"}`, `["stamp", 1]`},
			touches: []string{"celery-task-meta-id"}, repeatable: []string{"_goworker.1.revoked", "celery-task-meta-"},
			markers: map[string]int{"=id": 1, `"stamp"`: 1, "REVOKED": 1},
		},
		"spare": {
			script: "spare", keys: keys(graves, []any{deadRaws + ".spare"}), before: [][]any{{"RPUSH", deadRaws + ".spare", "x\n{}\ncorpse", "stray"}},
			args: []any{10, 1000, 10}, markers: map[string]int{"corpse": 1, "stray": 1, "spare": 0},
		},
		"reindex": {
			script: "reindex", keys: books, before: [][]any{{"HSET", "unacked", "c", "raw of c", "d", "raw of d"}, {"ZADD", "unacked_index", 1, "c"}},
			markers: map[string]int{"=c": 2, "=d": 2},
		},
		"reply":   {script: "reply", keys: []any{"x.reply.celery.pidbox"}, args: []any{"answer", 60}, markers: map[string]int{"answer": 1}},
		"take":    {script: "take", keys: []any{"_goworker.1.limit.t"}, args: []any{1000}},
		"unlock":  {script: "unlock", keys: []any{"unacked_mutex"}, before: [][]any{{"SET", "unacked_mutex", "me"}}, args: []any{"me"}},
		"letters": {script: "letters", keys: []any{deadIndex}, before: [][]any{{"ZADD", deadIndex, 1, "x"}}, args: []any{0, 10}},
	}
}

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

var at = regexp.MustCompile(`"at": ?"?[0-9.]+"?`)

// dump is what the keys hold, one line for each element, without times.
func (st stage) dump(without ...string) []string {
	st.t.Helper()
	var lines []string
	for _, key := range must(redigo.Strings(st.c.Do("KEYS", "*")))(st.t) {
		if slices.ContainsFunc(without, func(begin string) bool { return strings.HasPrefix(key, begin) }) {
			continue
		}
		kind := must(redigo.String(st.c.Do("TYPE", key)))(st.t)
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
			if strings.HasPrefix(key, "_goworker.1.limit.") {
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
	eachScene(t, func(t *testing.T, st stage, sc scene) {
		text := must(redis.ScriptText(sc.script))(t)
		commands := map[string]bool{}
		for _, m := range called.FindAllStringSubmatch(text, -1) {
			commands[strings.ToLower(m[1]+m[2])] = true
		}
		st.set(sc)
		if err := st.play(sc); err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		clean := st.dump()
		for _, command := range slices.Sorted(maps.Keys(commands)) {
			st.set(sc)
			before := st.dump(sc.repeatable...)
			do(t, st.c, "ACL", "SETUSER", "limited", "-"+command)
			err := st.play(sc)
			if after := st.dump(sc.repeatable...); err != nil && !slices.Equal(before, after) {
				t.Errorf("-%s: failed with %v and has changed\n%s\nto\n%s", command, err, strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			do(t, st.c, "ACL", "SETUSER", "limited", "+"+command)
			if err != nil || sc.script == "restore" { // which leaves messages to others that may do more
				if err := st.play(sc); err != nil {
					t.Errorf("-%s: once it is granted: %v", command, err)
				}
				if after := st.dump(); !slices.Equal(clean, after) && sc.script != "fence" {
					t.Errorf("-%s, and granted:\n%s\nwant\n%s", command, strings.Join(after, "\n"), strings.Join(clean, "\n"))
				}
			}
			st.check(sc, "-"+command)
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
