package redis_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/testkit/recorded"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// fineness asks claim.lua itself, in a real Redis, which messages it would enter
// without a look of the complete parser, when it is told of shapes.
func fineness(t testing.TB) func(t testing.TB, shapes []string, raws ...string) []int {
	t.Helper()
	src, err := os.ReadFile("internal/scripts/claim.lua")
	if err != nil {
		t.Fatal(err)
	}
	_, code, found := strings.Cut(string(src), "\nlocal max_strict =")
	code, _, ends := strings.Cut(code, "\n-- crashes is ")
	if !found || !ends {
		t.Fatal("claim.lua does not define fine between max_strict and crashes any more: this test would prove nothing")
	}
	script := redigo.NewScript(0, "local shapes, known = 1, tonumber(ARGV[1])\nlocal max_strict ="+code+
		"\nlocal out = {} for i = shapes + known + 1, #ARGV do out[#out + 1] = fine(ARGV[i]) and 1 or 0 end return out")
	c := redistest.Start(t, "--appendonly", "no").Conn(0)
	return func(t testing.TB, shapes []string, raws ...string) []int {
		t.Helper()
		args := []any{len(shapes)}
		for _, s := range slices.Concat(shapes, raws) {
			args = append(args, s)
		}
		answers, err := redigo.Ints(script.Do(c, args...))
		if err != nil {
			t.Fatal(err)
		}
		return answers
	}
}

// producedMessages are what producers of all versions of Celery wrote.
func producedMessages(t testing.TB) (raws []string) {
	t.Helper()
	files, err := filepath.Glob("../protocol/testdata/*/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		for _, r := range recorded.Lines[struct{ Raw string }](t, name) {
			raws = append(raws, r.Raw)
		}
	}
	if len(raws) < 100 {
		t.Fatalf("%d recorded messages: this test would prove nothing", len(raws))
	}
	return raws
}

// oddities are pieces that one parser or the other may see in its own way.
var oddities = []string{
	"{", "}", "[", "]", "[]", "{}", ",", ":", `"`, `\`, `\"`, `\\`, `\u0061`, `\u005f`, `\ud800`, `\uD83D\uDE00`, `\x`, `\/`, "null", "true", "NaN", "nan", "Infinity",
	"-Infinity", "-inf", "inf", "0x10", "007", "-0", "-01", "1.", ".5", "+1", "1e5", "1E+5", "1e", "1.5e-7", "1e400", " ", "\n", "\t", "\r", "\x00", "\x7f", "\x01",
	"\u00fc", "\u2028", "\xff", "\xed\xa0\x80", `"__type__": "date"`, `"headers": []`, `"headers": {}`, `"headers": null`, `"headers": {"a": 1}`, `"he\u0061ders": []`,
	`"body": null`, `"body": "W10="`, `"properties": {}`, `"delivery_info": []`, `"delivery_info": {"exchange": "", "routing_key": "q"}`, `"delivery_tag": 1`, `"delivery_tag": ""`,
	`"exchange": null`, `"priority": Infinity`, `"priority": 1e999`, `"routing_key": 1`, `// x`, `/* */`, "'", `""`, "truenull", "1-2", "1e5e5", "--1", "e", "E5", "0e0", "00", "1.2.3", "9007199254740993",
}

// mutant puts oddities into a message, takes pieces out of it or doubles them.
func mutant(r *rand.Rand, raw string) string {
	for range 1 + r.IntN(3) {
		at := r.IntN(len(raw) + 1)
		end := min(len(raw), at+r.IntN(12))
		switch odd := oddities[r.IntN(len(oddities))]; r.IntN(6) {
		case 0:
			raw = raw[:at] + raw[end:]
		case 1:
			raw = raw[:end] + raw[at:]
		case 2:
			// A value of its own, where one may stand.
			if i := strings.Index(raw[at:], ": "); i >= 0 {
				at += i + len(": ")
				raw = raw[:at] + odd + raw[at:]
			}
		case 3:
			if i := strings.Index(raw[at:], ", "); i >= 0 {
				at += i + len(", ")
				raw = raw[:at] + odd + ", " + raw[at:]
			}
		case 4:
			if i := strings.Index(raw[at:], "null"); i >= 0 {
				at += i
				raw = raw[:at] + odd + raw[at+len("null"):]
			}
		default:
			raw = raw[:at] + odd + raw[at:]
		}
	}
	return raw
}

// mutants are n of messages chosen by chance.
func mutants(r *rand.Rand, of []string, n int) []string {
	raws := make([]string, n)
	for i := range raws {
		raws[i] = mutant(r, of[r.IntN(len(of))])
	}
	return raws
}

// Messages that the script accepts must be restorable for the complete parser, too: else a
// Python worker could not put them back.
func TestFineIsRestorable(t *testing.T) {
	t.Parallel()
	fine := fineness(t)
	produced := producedMessages(t)
	r := rand.New(rand.NewPCG(5, 6))
	const rounds, each = 200, 100
	sure, intact := 0, 0
	for range rounds {
		raws := mutants(r, produced, each)
		for i, answer := range fine(t, nil, raws...) {
			err := protocol.Restorable([]byte(raws[i]))
			if err == nil {
				intact++
			}
			if answer == 0 {
				continue
			}
			sure++
			if err != nil {
				t.Errorf("fine for claim.lua, but %v:\n%q", err, raws[i])
			}
		}
	}
	t.Logf("of %d mutants %d can be put back, claim.lua is sure of %d", rounds*each, intact, sure)
	if sure < rounds*each/20 {
		t.Errorf("claim.lua is sure of %d mutants only: this test would prove little", sure)
	}
}

// The usual message costs no look of the complete parser, else claims are slow.
func TestUsualMessagesAreFine(t *testing.T) {
	fine := fineness(t)
	usual, unsure := 0, 0
	for _, raw := range producedMessages(t) {
		if err := protocol.Restorable([]byte(raw)); err != nil || len(raw) > 16<<10 || strings.ContainsAny(raw, `\`) || strings.Contains(raw, "__type__") {
			continue
		}
		usual++
		if fine(t, nil, raw)[0] == 0 {
			unsure++
			t.Logf("claim.lua is not sure of %q", raw)
		}
	}
	if usual < 100 || unsure > 0 {
		t.Errorf("claim.lua is not sure of %d of %d usual messages", unsure, usual)
	}
}

func FuzzFine(f *testing.F) {
	fine := fineness(f)
	for i, raw := range producedMessages(f) {
		if i%20 == 0 && len(raw) < 4096 {
			f.Add([]byte(raw))
		}
	}
	r := rand.New(rand.NewPCG(7, 8))
	for _, odd := range oddities {
		f.Add([]byte(`{"body": "W10=", "headers": {"id": "i", "x": ` + odd + `}, "properties": {"delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "q"}}}`))
		f.Add([]byte(mutant(r, `{"body": "W10=", "headers": {"id": null}, "properties": {"delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "q"}}}`)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if fine(t, nil, string(raw))[0] == 0 {
			return
		}
		if err := protocol.Restorable(raw); err != nil {
			t.Fatalf("fine for claim.lua, but %v", err)
		}
	})
}
