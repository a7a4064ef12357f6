package redis_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// since is how often Redis has carried out a command since the last call.
func since(t *testing.T, c redigo.Conn, command string) (n int) {
	t.Helper()
	if stats := must(redigo.String(c.Do("INFO", "commandstats")))(t); strings.Contains(stats, "cmdstat_"+command+":") {
		n = calls(t, c, command)
	}
	must(c.Do("CONFIG", "RESETSTAT"))(t)
	return n
}

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

// A message with the shape of a good one is good: no bad mutant of it, or of others, passes.
func TestShapesAreRestorable(t *testing.T) {
	t.Parallel()
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
		raws := mutants(r, models, each)
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

// Each of the usual messages has a shape, if it is not long.
func TestUsualMessagesHaveShapes(t *testing.T) {
	t.Parallel()
	usual := 0
	for _, raw := range producedMessages(t) {
		if len(raw) > 4<<10 || strings.ContainsAny(raw, `\`) || strings.Contains(raw, "__type__") || protocol.Restorable([]byte(raw)) != nil {
			continue
		}
		if usual++; len(shapes(raw)) == 0 {
			t.Errorf("no shape of %.300s", raw)
		}
	}
	if usual < 100 {
		t.Errorf("%d usual messages: this test would prove little", usual)
	}
}

// odd is no JSON, so that claim.lua is sure of it by its shape alone.
const odd = `{"body": "W10=", "headers": {"id": "i", "retries": 0, "at": [e5, 10.5]}, "properties": {"delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "q"}}}`

func TestShapes(t *testing.T) {
	fine := fineness(t)
	shape, ok := redis.ShapeOf([]byte(odd))
	const want = `^{"body": "[]-~#-[ !]*", "headers": {"id": "[]-~#-[ !]*", "retries": %d, "at": %[e5, 10%.5%]}, "properties": {"delivery_tag": "[]-~#-[ !]*", "delivery_info": {"exchange": "[]-~#-[ !]*", "routing_key": "[]-~#-[ !]*"}}}$`
	if shape != want || !ok {
		t.Fatal(cmp.Diff(want, shape))
	}
	var texts []string
	var plain []int
	for c := range 256 {
		texts = append(texts, strings.Replace(odd, "W10=", string([]byte{byte(c)}), 1))
		plain = append(plain, map[bool]int{true: 1}[' ' <= c && c <= '~' && c != '"' && c != '\\'])
	}
	if diff := cmp.Diff(plain, fine(t, []string{shape}, texts...)); diff != "" {
		t.Error(diff)
	}
	for _, tc := range []struct {
		old, new string
		fine     int
	}{
		{"", "", 1},
		{`"i"`, `""`, 1},
		{`"d"`, `"` + strings.Repeat("d]", 1000) + `"`, 1},
		{`: 0`, `: 7`, 1},
		{`: 0`, `: 07`, 0},
		{`: 0`, `: `, 0},
		{`10.5`, `00.5`, 0},
		{`10.5`, `10.7`, 0},
		{`e5`, `e7`, 0},
		{`"i"`, `"i", "x": "y"`, 0},
		{`"i"`, `null`, 0},
		{`"retries"`, `"Retries"`, 0},
		{`}}}`, `}}} `, 0},
		{`}}}`, `}}`, 0},
		{`{"body"`, ` {"body"`, 0},
		{`W10=`, strings.Repeat("W", 5<<10), 0},
	} {
		raw := strings.Replace(odd, tc.old, tc.new, 1)
		if got := fine(t, []string{shape}, raw)[0]; got != tc.fine {
			t.Errorf("fine is %d, want %d: %.300s", got, tc.fine, raw)
		}
	}
	for _, text := range []string{
		`"\u0061"`, `"\""`, `"\u00fc"`, `"ü"`, "\n", `"` + "\x7f" + `"`, `"`, `{"__type__": "date"}`, "[" + strings.Repeat(`"a", `, 100) + `"a"]`,
		`"i", "` + strings.Repeat("k", 5000) + `": 1`, `"` + strings.Repeat("t", 5000) + `"`,
	} {
		raw := strings.Replace(odd, `"i"`, text, 1)
		if got, ok := redis.ShapeOf([]byte(raw)); ok {
			t.Errorf("shape %.300q of %.300q", got, raw)
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
		if fine(t, known, string(model))[0] == 0 {
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
