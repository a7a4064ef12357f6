package redis_test

import (
	"fmt"
	"slices"
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

// entered is the text of an entry of a stream. An entry that its stream refuses is dropped.
const entered = "entered"

// records are operations of record.lua.
func records() []any {
	return []any{"mark", "_goworker.1.mark.f", "0 5 ended", "mark", "_goworker.1.mark.g", "",
		"free", "_goworker.1.mark.n", "me", "entry", "_goworker.1.stream.s", "_goworker.1.losses.s", 10, 2, "field", entered}
}

var recordKeys = []string{"_goworker.1.mark.f", "_goworker.1.mark.g", "_goworker.1.stream.s", "_goworker.1.losses.s"}

const (
	deadRaws, deadMetas, deadIndex = "_goworker.1.dead", "_goworker.1.dead.meta", "_goworker.1.dead.index"
	closedRaws                     = "_goworker.1.dead.closed"
	ownerKey                       = "_goworker.1.owner.me"
	later                          = 4102444800 // 2100; what is older than a thousand seconds is dropped
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
	letterKeys := append(graves[:3:3], closedRaws, closedRaws+".meta", closedRaws+".index", deadRaws+".expires")
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
		"pick": {
			script: "pick", keys: keys(books, []any{ownerKey, "q"}),
			before:  [][]any{owned, {"LPUSH", "q", "held", fineRaw("one"), "also held", fineRaw("two")}},
			args:    []any{1, "me:", 1, -1, 100, `, "", "q"]`, fineRaw("one"), "", "", fineRaw("two"), "", "_goworker.1.crashes.i", "gone", "", ""},
			markers: map[string]int{`"one"`: 1, `"two"`: 1, "held": 2},
			touches: []string{"_goworker.1.crashes.i"},
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
		"settle: records": {
			script: "settle", keys: keys(books, []any{"celery-task-meta-i", "unacked"}, graves, []any{"unacked"}),
			before:  with(held("c"), []any{"SET", "_goworker.1.mark.f", "0 4 mark"}, []any{"SET", "_goworker.1.mark.g", "0 5 other"}),
			args:    append([]any{"c", result, 100, "0", "q", "next", "", "", "", "", 10, 1000, ""}, records()...),
			touches: append([]string{"q"}, recordKeys...),
			markers: map[string]int{"RETRY": 1, "next": 1, "0 4 mark": 0, "0 5 ended": 1, "0 5 other": 0, entered: 1},
		},
		"mark": {
			script: "mark", keys: []any{"unacked", "_goworker.1.mark.f"},
			before:  with(held("c"), []any{"SET", "_goworker.1.mark.f", "1 4 bmark"}),
			args:    []any{"c", "c", "sending", "0", "entry", "_goworker.1.stream.s", "_goworker.1.losses.s", 10, 2, "field", entered},
			touches: []string{"_goworker.1.stream.s", "_goworker.1.losses.s"},
			markers: map[string]int{"1 4 bmark": 0, "1 7 csendingmark": 1, entered: 1},
		},
		"finish: records": {
			script: "finish", keys: keys(books, []any{"celery-task-meta-i", "unacked"}),
			before: with(held("c", "d", "e"), []any{"SET", "_goworker.1.mark.f", "0 4 mark"}, []any{"SET", "_goworker.1.mark.g", "0 5 other"},
				[]any{"SET", "_goworker.1.mark.n", "2 4 mehold"}),
			args: slices.Concat([]any{100, "c", result, "0", "d", "", "0", 1, "", len(records())}, records(),
				[]any{2, "_goworker.1.recorded.d", 3, "mark", "_goworker.1.mark.h", "0 3 end"}),
			touches:    append([]string{"_goworker.1.mark.h"}, recordKeys...),
			repeatable: []string{"celery-task-meta-"},
			markers: map[string]int{"RETRY": 1, "raw of c": 0, "raw of d": 0, "raw of e": 1,
				"0 4 mark": 0, "0 5 ended": 1, "0 5 other": 0, "mehold": 0, "0 3 end": 1, entered: 1},
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
		"carry: records": {
			script: "carry", keys: keys(books, graves, []any{"_goworker.1.step.c", "unacked", "unacked"}),
			before: with(held("c"), []any{"SET", "_goworker.1.mark.f", "0 4 mark"}, []any{"SET", "_goworker.1.mark.g", "0 5 other"}),
			args: slices.Concat([]any{"c", "c", 0, "1", "1", 3, "", "", "", "", 10, 1000, "0", "own", "celery-task-meta-i", result, 100, "0",
				"push", "q", "next", "record", "_goworker.1.recorded.c", len(records())}, records()),
			touches: append([]string{"celery-task-meta-i", "q"}, recordKeys...),
			markers: map[string]int{"RETRY": 1, "next": 1, "0 4 mark": 0, "0 5 ended": 1, "0 5 other": 0, entered: 1},
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
		"carry: a chord whose size is in its messages": {
			script: "carry", keys: keys(books, graves, []any{"_goworker.1.step.c", "unacked", "unacked"}), before: held("c"),
			args: []any{"c", "c", 0, "1", "1", 3, "", "", "", "", 10, 1000, "0", "sized", "n", 2, 100,
				"member", "n", 1, `[1, "c", "SUCCESS", 1]`, "c", 100, "celery-task-meta-i"},
			touches: []string{"n.j", "n.s", "n.d", "n.c", "celery-task-meta-i"},
			// A size alone completes nothing.
			repeatable: []string{"n.s"},
			markers:    map[string]int{`[1, "c",`: 1},
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
			script: "revive", keys: keys(letterKeys, []any{"q", "_goworker.1.crashes.i", "celery-task-meta-i"}),
			before: [][]any{{"HSET", deadRaws, "x", "old"}, {"HSET", deadMetas, "x", "{}"}, {"ZADD", deadIndex, later, "x"},
				{"ZADD", deadRaws + ".expires", 2, "x"}, {"SET", "celery-task-meta-i", result}, {"HSET", "_goworker.1.crashes.i", "n", 1}},
			args:    []any{"token", 10, 1000, "x", "{}", "again", `{"state":"retried"}`, "remains"},
			markers: map[string]int{"again": 1, "old": 0, "remains": 1, "retried": 1},
		},
		"letters: resolved": {
			script: "lettermove", keys: letterKeys,
			before:  [][]any{{"HSET", deadRaws, "x", "corpse"}, {"HSET", deadMetas, "x", "{}"}, {"ZADD", deadIndex, later, "x"}},
			args:    []any{"token", 10, 1000, "x", "{}", `{"state":"dealt_with"}`, "0", "", "", "0"},
			markers: map[string]int{"corpse": 1, "dealt_with": 1},
		},
		"letters: encrypted": {
			script: "lettermove", keys: keys(graves, graves, []any{deadRaws + ".expires"}),
			before:  [][]any{{"HSET", deadRaws, "x", "old"}, {"HSET", deadMetas, "x", "{}"}, {"ZADD", deadIndex, later, "x"}},
			args:    []any{"token", 10, 1000, "x", "{}", `{"key":"k"}`, "1", "sealed", "2", "0"},
			markers: map[string]int{"old": 0, "sealed": 1, `"key"`: 1},
		},
		"look": {
			script: "look", keys: keys(books, []any{"q", "r"}),
			before:  with(held("c"), []any{"LPUSH", "q", "one", "two"}),
			args:    []any{10, 1000, "one", ""},
			markers: map[string]int{"one": 1, "two": 1},
		},
		"peek": {
			script: "peek", keys: []any{"q"}, before: [][]any{{"LPUSH", "q", "one", "two"}},
			args: []any{-1, 10, 1000}, markers: map[string]int{"one": 1, "two": 1},
		},
		"purge": {
			script: "purge", keys: []any{"q"}, before: [][]any{{"LPUSH", "q", "oldest", "newest"}},
			args: []any{1}, markers: map[string]int{"oldest": 0, "newest": 1},
		},
		"letterread": {
			script: "letterread", keys: []any{deadRaws, deadMetas, closedRaws, closedRaws + ".meta"},
			before: [][]any{{"HSET", deadRaws, "x", "corpse"}, {"HSET", closedRaws, "y", "stray"}}, args: []any{1000, "x", "y", "z"},
			markers: map[string]int{"corpse": 1, "stray": 1},
		},
		"letterpage": {
			script: "letterpage", keys: []any{deadIndex, closedRaws + ".index"}, before: [][]any{{"ZADD", deadIndex, later, "x"}}, args: []any{"+inf", "", 10},
		},
		"letterdrop": {
			script: "letterdrop", keys: letterKeys, before: [][]any{{"HSET", deadRaws, "x", "old"}, {"HSET", deadMetas, "x", "{}"}, {"ZADD", deadIndex, later, "x"}},
			args: []any{"x"}, markers: map[string]int{"old": 0},
		},
		"lettercount": {
			script: "lettercount", keys: append(letterKeys[:6:6], deadRaws+".dropped", deadRaws+".expires"), args: []any{10, 10, 1000},
			before: [][]any{{"HSET", deadRaws, "x", "old"}, {"HSET", deadMetas, "x", "{}"}, {"ZADD", deadIndex, 1, "x"}}, markers: map[string]int{"old": 0},
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
		"reply": {script: "reply", keys: []any{"x.reply.celery.pidbox"}, args: []any{"answer", 60}, markers: map[string]int{"answer": 1}},
		"admit": {
			script: "admit", keys: []any{"_goworker.1.admit.a", "_goworker.1.slow.a", "_goworker.1.admit.b", "_goworker.1.slow.b"},
			args: []any{1000000, 1, 0, 1000000, 2, 0}, markers: map[string]int{"admit.a": 1, "admit.b": 1},
		},
		"slow": {
			script: "slow", keys: []any{"_goworker.1.slow.a"}, before: [][]any{{"SET", "_goworker.1.slow.a", "1000000 500000"}},
			args: []any{30000000, 15625}, markers: map[string]int{"slow.a": 1},
		},
		"lease": {
			script: "lease", keys: []any{"_goworker.1.lease.x"}, before: [][]any{{"SET", "_goworker.1.lease.x", "me"}}, args: []any{"me", 100000},
			markers: map[string]int{"=me": 1},
		},
		"journal": {
			script: "journal", keys: []any{"_goworker.1.head.j", "_goworker.1.stream.j", "_goworker.1.losses.j"},
			before:  [][]any{{"SET", "_goworker.1.head.j", "old"}},
			args:    []any{"old", "young", 10, 2, "field", "one", 2, "field", "two"},
			markers: map[string]int{"old": 0, "young": 1, "field one": 1, "field two": 1},
		},
		"heard": {
			script: "heard", keys: []any{"_goworker.1.heard.n"}, before: [][]any{{"HSET", "_goworker.1.heard.n", "until", 1000}}, args: []any{2000, 3000, 500, 0},
			markers: map[string]int{"until=3000": 1, "gaps=1": 1, "lost=1000": 1},
		},
		"learn": {
			script: "learn", keys: []any{"_goworker.1.dictionary.d", "_goworker.1.dictionary.d.order"},
			before: [][]any{{"HSET", "_goworker.1.dictionary.d", "old", "text"}, {"ZADD", "_goworker.1.dictionary.d.order", 1, "old"}},
			args:   []any{"new", "word", 1}, repeatable: []string{"_goworker.1.dictionary."}, markers: map[string]int{"old=text": 0, "new=word": 1},
		},
		"take":    {script: "take", keys: []any{"_goworker.1.limit.t"}, args: []any{1000}},
		"unlock":  {script: "unlock", keys: []any{"unacked_mutex"}, before: [][]any{{"SET", "unacked_mutex", "me"}}, args: []any{"me"}},
		"letters": {script: "letters", keys: []any{deadIndex}, before: [][]any{{"ZADD", deadIndex, 1, "x"}}, args: []any{0, 10}},
	}
}
