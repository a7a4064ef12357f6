package redis_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// A message that claim.lua is not sure of comes to Go and back. The next ones of its
// shape do not.
func TestShapesAreLearned(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	w := newConsumer(t, redis.Config{URL: s.URL(0)})
	send(t, c, "q", "t", "[]")
	w.claim(t, 5) // with what comes only once
	const odd = `{"body": "W10=", "headers": {"id": "%", "lists": [[], [], []]}, "properties": {"delivery_tag": "%", "delivery_info": {"exchange": "", "routing_key": "q"}}}`
	for i := range 3 {
		raw := strings.ReplaceAll(strings.Replace(odd, "[], ", strings.Repeat("[], ", 250), 1), "%", strconv.Itoa(100+i))
		must(c.Do("LPUSH", "q", raw))(t)
		since(t, c, "evalsha")
		if ds := w.claim(t, 5); len(ds) != 1 || string(ds[0].Raw) != raw {
			t.Fatalf("claimed %+v", ds)
		}
		if n, want := since(t, c, "evalsha"), map[bool]int{true: 2, false: 1}[i == 0]; n != want {
			t.Errorf("claim %d took %d scripts, want %d", i, n, want)
		}
	}
}

// shapes returns the shapes of messages that a Python worker could put back.
func shapes(raws ...string) (all []string) {
	for _, raw := range raws {
		if pattern, ok := redis.ShapeOf([]byte(raw)); ok && protocol.Restorable([]byte(raw)) == nil {
			all = append(all, pattern)
		}
	}
	return all
}

// What has the shape of a good message is good: neither mutants of it pass that are
// not, nor of others.
func TestShapesAreRestorable(t *testing.T) {
	fine := fineness(t)
	produced := producedMessages(t)
	r := rand.New(rand.NewPCG(9, 10))
	const rounds, each = 200, 100
	shaped, sure := 0, 0
	for range rounds {
		models := make([]string, 6)
		for i := range models {
			models[i] = produced[r.IntN(len(produced))]
		}
		raws := make([]string, each)
		for i := range raws {
			raws[i] = mutant(r, models[r.IntN(len(models))])
		}
		alone := fine(t, nil, raws...)
		for i, answer := range fine(t, shapes(models...), raws...) {
			if answer == 0 {
				continue
			}
			sure++
			if alone[i] == 0 {
				shaped++
			}
			if err := protocol.Restorable([]byte(raws[i])); err != nil {
				t.Errorf("fine for claim.lua by a shape, but %v:\n%q", err, raws[i])
			}
		}
	}
	t.Logf("of %d mutants claim.lua is sure of %d, of %d of them by their shape alone", rounds*each, sure, shaped)
	if sure < rounds*each/20 {
		t.Errorf("claim.lua is sure of %d mutants only: this test would prove little", sure)
	}
}

// Of the usual messages each has a shape, by which others are known that were made by
// the same producer for another task. What is more than plain text has none.
func TestShapes(t *testing.T) {
	fine := fineness(t)
	usual := 0
	for _, raw := range producedMessages(t) {
		if protocol.Restorable([]byte(raw)) != nil || len(raw) > 16<<10 || strings.ContainsAny(raw, `\`) || strings.Contains(raw, "__type__") {
			continue
		}
		usual++
		shape := shapes(raw)
		if len(shape) == 0 {
			t.Errorf("no shape of %q", raw)
		}
	}
	if usual < 100 {
		t.Errorf("%d usual messages: this test would prove little", usual)
	}
	// Lua's own reader is unsure of these words, so that the shape alone can know them.
	const model = `{"body": "W10=", "headers": {"id": "i", "retries": 0, "at": [Infinity, 10.5]}, "properties": {"delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "q"}}}`
	known := []string{`^{"body": "[]-~#-[ !]*", "headers": {"id": "[]-~#-[ !]*", "retries": %d, "at": %[Infinity, 1%d%.%d%]}, "properties": {"delivery_tag": "[]-~#-[ !]*", "delivery_info": {"exchange": "[]-~#-[ !]*", "routing_key": "[]-~#-[ !]*"}}}$`}
	if diff := cmp.Diff(known, shapes(model)); diff != "" {
		t.Fatal(diff)
	}
	var texts []string
	var want []int
	for c := range 256 {
		texts = append(texts, strings.Replace(model, "W10=", string([]byte{byte(c)}), 1))
		plain := ' ' <= c && c <= '~' && c != '"' && c != '\\'
		want = append(want, map[bool]int{true: 1}[plain])
	}
	// A message of an unknown shape is left to Lua's reader, which is unsure of "e5".
	odd := strings.Replace(model, "Infinity", "e5", 1)
	for i := range texts {
		texts[i] = strings.Replace(texts[i], "Infinity", "e5", 1)
	}
	by := []string{strings.Replace(known[0], "Infinity", "e5", 1)}
	if diff := cmp.Diff(want, fine(t, by, texts...)); diff != "" {
		t.Error(diff)
	}
	for raw, want := range map[string]int{
		odd:                                               1,
		strings.Replace(odd, `"i"`, `""`, 1):              1,
		strings.Replace(odd, `: 0`, `: 7`, 1):             1,
		strings.Replace(odd, `10.5`, `19.0`, 1):           1,
		strings.Replace(odd, `10.5`, `00.5`, 1):           0,
		strings.Replace(odd, `: 0`, `: 07`, 1):            0,
		strings.Replace(odd, `: 0`, `: `, 1):              0,
		strings.Replace(odd, `"i"`, `"i", "x": "y"`, 1):   0,
		strings.Replace(odd, `"retries"`, `"Retries"`, 1): 0,
		odd + " ":        0,
		" " + odd:        0,
		odd[:len(odd)-1]: 0,
		strings.Replace(odd, "W10=", strings.Repeat("W", 17<<10), 1): 0,
	} {
		if got := fine(t, by, raw)[0]; got != want {
			t.Errorf("fine is %d, want %d: %.300s", got, want, raw)
		}
	}
	for _, raw := range []string{
		strings.Replace(model, `"i"`, `"\u0061"`, 1), strings.Replace(model, `"i"`, `"\""`, 1), strings.Replace(model, `"i"`, `"ü"`, 1),
		strings.Replace(model, `"i"`, `{"__type__": "date"}`, 1), strings.Replace(model, `"i"`, "\n", 1), model[:len(model)-40],
		strings.Replace(model, `"i"`, "["+strings.Repeat(`"a", `, 100)+`"a"]`, 1), strings.Replace(model, `"i"`, `"i", "`+strings.Repeat("k", 5000)+`": 1`, 1),
	} {
		if got := shapes(raw); len(got) > 0 {
			t.Errorf("shape %q of %q", got, raw)
		}
	}
}

func FuzzShapes(f *testing.F) {
	fine := fineness(f)
	produced := producedMessages(f)
	r := rand.New(rand.NewPCG(11, 12))
	for i, raw := range produced {
		if i%20 == 0 && len(raw) < 4096 {
			f.Add([]byte(raw), []byte(mutant(r, raw)))
		}
	}
	f.Fuzz(func(t *testing.T, model, raw []byte) {
		known := shapes(string(model))
		if len(known) == 0 {
			return
		}
		if fine(t, known, string(model))[0] == 0 && len(model) <= 16<<10 {
			t.Error("the model has not its own shape")
		}
		if fine(t, known, string(raw))[0] == 0 {
			return
		}
		if err := protocol.Restorable(raw); err != nil {
			t.Fatalf("fine for claim.lua, but %v", err)
		}
	})
}
