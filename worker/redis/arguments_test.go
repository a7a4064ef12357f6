package redis

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/scripts"
)

// unpacking is the line of a script that names its fixed keys or arguments, in their order.
var unpacking = regexp.MustCompile(`local ([\w,\s]+?) = unpack\((KEYS|ARGV), 1, (\d+)\)`)

// named returns the names that a script gives to its fixed keys or arguments.
func named(t *testing.T, script, list string) []string {
	t.Helper()
	source, err := scripts.Source(script)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range unpacking.FindAllStringSubmatch(source, -1) {
		if m[2] == list {
			names := strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune(", \n", r) })
			if fmt.Sprint(len(names)) != m[3] {
				t.Errorf("%s.lua: %d names of %s %s", script, len(names), m[3], list)
			}
			return names
		}
	}
	t.Fatalf("%s.lua does not name its %s", script, list)
	return nil
}

// Each script names its positional keys and arguments once. The Go side passes the values of
// these names, in this order.
func TestArguments(t *testing.T) {
	b, err := New(Config{URL: "redis://127.0.0.1:1/0", MaxMessageSize: 1001, DeadLettersMax: 1002})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Consume(broker.Session{Node: "w@test", Queues: []string{"q"}}); err != nil {
		t.Fatal(err)
	}
	b.consumer.epoch.Store(1003)
	b.claimer.number = 1004
	k, age, expires := b.server.keys, b.server.deadLettersAge(), b.server.resultExpires()
	raw, err := protocol.Encode(&protocol.Message{ID: "id", Task: "t", Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"),
		DeliveryTag: "tag", RoutingKey: "q"})
	if err == nil {
		raw, err = protocol.MarkRedelivered(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	d := broker.Delivery{Claim: "a claim", Queue: "q", Raw: raw}
	s := broker.Settlement{
		Delivery: d, Step: 1005, Result: &protocol.Result{TaskID: "id", Status: protocol.StateSuccess}, DeadLetter: "why",
		Requeue: broker.RequeueUntouched, Changes: broker.Changes{Publish: []broker.Publication{{Queue: "next", Raw: []byte("published")}}},
	}
	f, err := b.settler.plain(&s)
	if err != nil {
		t.Fatal(err)
	}
	disposal := b.settler.disposal(&s)
	shared := map[string]any{
		"unacked": k.unacked, "index": k.index, "dead": k.dead, "dead_raws": k.dead, "dead_meta": k.deadMeta, "dead_index": k.deadIndex,
		"owner": k.owner(b.consumer.id), "crashes": k.crashes(protocol.Envelope{ID: "id", DeliveryTag: "tag"}), "result": k.result("id"), "requeue_list": "q", "list": "q",
		"step_key": k.step("a token"), "dead_max": 1002, "dead_age": age, "claim": "a claim", "expires": expires,
		"epoch": int64(1003), "claim_prefix": b.consumer.claimPrefix(), "next_number": int64(1004),
		"requeue": raw, "dead_raw": raw, "dead_entry": disposal.deadMeta, "dead_id": "a claim",
	}
	claimKeys, claimArgs := b.claimer.claimCall(1006, nil)
	b.claimer.ahead = ahead{list: 0}
	seen := b.claimer.seenCall(list{queue: "q", key: "q"}, []seen{{raw: raw}}, 1)
	settleKeys, settleArgs := b.settler.settleCall(&s, f)
	settleArgs[8] = disposal.deadMeta // which has the time
	carryKeys, carryArgs := b.settler.keysAndArgs(&carryCall{
		claim: "a claim", token: "a token", step: 1005, settles: true, redelivered: true, disposal: disposal,
	})
	pickKeys, pickArgs := b.claimer.pickCall(b.claimer.lists[0], []wanted{{raw: raw}}, 1)
	startKeys, startArgs := b.settler.startCall(d, broker.Start{
		Stored: true, Fingerprint: "1008", Member: &canvas.MemberEntry{GroupID: "group", Score: "1007", TaskID: "a task", JSON: protocol.Raw("entry")},
	}, []byte("a value"))
	for script, call := range map[string]struct {
		keys, args []any
		own        map[string]any // values of names beside the shared ones
	}{
		"claim": {claimKeys, claimArgs, map[string]any{
			"max": 1006, "max_bytes": 1001, "max_total": claimBytes, "crashes_prefix": k.crashesPrefix(), "way": "turns", "queues": 1,
		}},
		"claimseen": {seen.keys, seen.args, map[string]any{"beside": len(protocol.EncodeEntry(protocol.Entry{RoutingKey: "q"}))}},
		"pick":      {pickKeys, pickArgs, map[string]any{"from": -1, "reach": reachFurther, "tail": []byte(`, "", "q"]`)}},
		"settle":    {settleKeys, settleArgs, map[string]any{"value": f.value, "success": "1", "publish_list": "next", "publication": []byte("published")}},
		"carry": {carryKeys, carryArgs, map[string]any{
			"token": "a token", "step": 1005, "settles": "1", "ordered": "1", "claim_life": chordClaim, "redelivered": "1",
		}},
		"start": {startKeys, startArgs, map[string]any{
			"value": []byte("a value"), "again": "1", "look_stored": "1", "base": k.chordBase("group"), "score": "1007", "id": "a task",
			"entry_start": "entry", "fingerprint": "1008",
		}},
	} {
		for list, values := range map[string][]any{"KEYS": call.keys, "ARGV": call.args} {
			for i, name := range named(t, script, list) {
				want, ok := call.own[name]
				if !ok {
					want, ok = shared[name]
				}
				if !ok || i >= len(values) || fmt.Sprint(values[i]) != fmt.Sprint(want) {
					t.Errorf("%s.lua: %s[%d] is %s, Go passes %v, want %v", script, list, i+1, name, values[i], want)
				}
			}
		}
	}
}

// The operations of carry.lua have as many operands as its header names, and as Go passes.
func TestOperations(t *testing.T) {
	b, err := New(Config{URL: "redis://127.0.0.1:1/0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	source, err := scripts.Source("carry")
	if err != nil {
		t.Fatal(err)
	}
	width := map[string]int{"end": 0}
	m := regexp.MustCompile(`local width = \{(.*)\}`).FindStringSubmatch(source)
	if m == nil {
		t.Fatal("carry.lua has no table of operations")
	}
	for one := range strings.SplitSeq(m[1], ", ") {
		var name string
		var n int
		if _, err := fmt.Sscanf(strings.ReplaceAll(one, "=", " "), "%s %d", &name, &n); err != nil {
			t.Fatalf("%q: %v", one, err)
		}
		width[name] = n
	}
	described := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^--   (\w+) ([a-z ]+?)(?:$|   | \.\.\. end)`).FindAllStringSubmatch(source, -1) {
		described[m[1]] = len(strings.Fields(m[2]))
	}
	result := &protocol.Result{TaskID: "id", Status: protocol.StateSuccess}
	var o operations
	if err := b.settler.addOwn(&o, result); err != nil {
		t.Fatal(err)
	}
	part := canvas.ChordPart{Entry: canvas.MemberEntry{GroupID: "g", TaskID: "id", Score: "1", JSON: protocol.Raw("[]"), Size: 2}, UnlessFailed: true}
	err = b.settler.addChanges(t.Context(), &o, broker.Changes{
		Sizes: []canvas.GroupSize{{GroupID: "g"}}, Groups: []canvas.SavedGroup{{GroupID: "g"}}, Joins: []canvas.GroupJoin{{GroupID: "g"}},
		Results: []*protocol.Result{result}, Members: []canvas.ChordPart{part},
		Publish: []broker.Publication{{Queue: "q"}, {Queue: "celery-task-meta-q"}},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	for i := 0; i < len(o.args); {
		name, _ := o.args[i].(string)
		n, ok := width[name]
		if !ok {
			t.Fatalf("Go passes the operation %v, operations are %v", o.args[i], width)
		}
		passed = append(passed, name)
		i += 1 + n
	}
	if want := []string{"own", "size", "set", "join", "store", "sized", "member", "push", "bury"}; !slices.Equal(passed, want) {
		t.Errorf("Go passes %q, want %q", passed, want)
	}
	for name, n := range width {
		if name != "end" && described[name] != n {
			t.Errorf("carry.lua describes %s with %d operands and takes %d", name, described[name], n)
		}
	}
}
