package canvas_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// spec describes a signature, see testdata/record.py.
type spec struct {
	T                           string
	Args                        []protocol.Raw
	Kwargs                      protocol.Raw
	Chain, Group                []spec
	Chord, Map, Starmap, Chunks []protocol.Raw
	Opt                         protocol.Raw
	Im                          bool
	Link, Err                   []spec
	Stamp, Visit                protocol.Raw
	isChain, isGroup            bool
}

func (s *spec) UnmarshalJSON(b []byte) error {
	type plain spec
	fields, err := protocol.Raw(b).Fields()
	if err != nil {
		return err
	}
	for _, f := range fields {
		s.isChain = s.isChain || f.Name == "chain"
		s.isGroup = s.isGroup || f.Name == "group"
	}
	return protocol.Unmarshal(b, (*plain)(s))
}

// build makes the signature in Go that record.py makes in Python.
func build(t testing.TB, s spec) *canvas.Signature {
	t.Helper()
	all := func(specs []spec) []*canvas.Signature {
		var out []*canvas.Signature
		for _, s := range specs {
			out = append(out, build(t, s))
		}
		return out
	}
	one := func(raw protocol.Raw) *canvas.Signature {
		var inner spec
		must(t, protocol.Unmarshal(raw, &inner))
		return build(t, inner)
	}
	items := func(raw protocol.Raw) []any {
		elements, err := raw.Elements()
		must(t, err)
		return anys(elements)
	}
	var sig *canvas.Signature
	switch {
	case s.T != "":
		sig = canvas.New("t."+s.T, anys(s.Args)...)
		for _, f := range fields(t, s.Kwargs) {
			sig.Kwarg(f.Name, f.Value)
		}
	case s.isChain:
		sig = canvas.Chain(all(s.Chain)...)
	case s.isGroup:
		sig = canvas.Group(all(s.Group)...)
	case s.Chord != nil:
		var header []spec
		must(t, protocol.Unmarshal(s.Chord[0], &header))
		sig = canvas.Chord(all(header), one(s.Chord[1]))
	case s.Map != nil:
		sig = canvas.Map(bare(one(s.Map[0])), items(s.Map[1])...)
	case s.Starmap != nil:
		sig = canvas.Starmap(bare(one(s.Starmap[0])), items(s.Starmap[1])...)
	case s.Chunks != nil:
		var n int
		must(t, protocol.Unmarshal(s.Chunks[2], &n))
		sig = canvas.Chunks(bare(one(s.Chunks[0])), n, items(s.Chunks[1])...)
	}
	for _, f := range fields(t, s.Opt) {
		sig.SetOption(f.Name, f.Value)
	}
	if s.Im {
		sig.Immutable(true)
	}
	sig.Link(all(s.Link)...)
	sig.LinkError(all(s.Err)...)
	for _, f := range fields(t, s.Stamp) {
		// All in one, as in Python: stamps of one call do not see each other.
		sig.Stamp(f.Name, f.Value)
	}
	if s.Visit != nil {
		sig.StampWith(stamper(t, s.Visit))
	}
	return sig
}

func bare(s *canvas.Signature) *canvas.Signature { return canvas.New(s.Task()) }

func stamper(t testing.TB, stamps protocol.Raw) canvas.Stamper {
	return func(*canvas.Signature) canvas.Stamps {
		out := canvas.Stamps{}
		for _, f := range fields(t, stamps) {
			out[f.Name] = f.Value
		}
		return out
	}
}

func anys(raws []protocol.Raw) []any {
	out := []any{}
	for _, r := range raws {
		out = append(out, r)
	}
	return out
}

func fields(t testing.TB, raw protocol.Raw) []protocol.Field {
	t.Helper()
	if raw.IsNull() {
		return nil
	}
	f, err := raw.Fields()
	must(t, err)
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type step map[string]any

type recording struct {
	Steps []step
	Error string // what Celery raised instead of applying it
}

type record struct {
	Name         string
	Spec         spec
	Signature    json.RawMessage
	Object, JSON *recording
}

func records(t testing.TB, file string) []record {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	var all []record
	d := json.NewDecoder(z)
	d.UseNumber()
	must(t, d.Decode(&all))
	if len(all) < 150 {
		t.Fatalf("%d recorded canvases: this test would prove little", len(all))
	}
	return all
}

// TestLikeCelery carries out every recorded canvas as Celery did, and compares
// all that every task has published and stored.
func TestLikeCelery(t *testing.T) {
	t.Parallel()
	for _, r := range records(t, "testdata/celery-5.7.json.gz") {
		again := r.JSON
		if again == nil {
			again = r.Object
		}
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			sig := build(t, r.Spec)
			raw, err := sig.Raw()
			must(t, err)
			t.Run("signature", func(t *testing.T) {
				compare(t, "signature", decode(t, protocol.Raw(r.Signature)), decode(t, raw), &naming{})
			})
			t.Run("object", func(t *testing.T) { compareRun(t, r.Object, sig, engine{}) })
			t.Run("json", func(t *testing.T) {
				parsed, err := canvas.Parse(protocol.Raw(r.Signature))
				must(t, err)
				compareRun(t, again, parsed, engine{})
			})
		})
	}
}

// TestLikeCeleryWithSettings does so with the settings that change messages.
func TestLikeCeleryWithSettings(t *testing.T) {
	t.Parallel()
	for _, r := range records(t, "testdata/celery-5.7-settings.json.gz") {
		want := r.JSON
		if want == nil {
			want = r.Object
		}
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			parsed, err := canvas.Parse(protocol.Raw(r.Signature))
			must(t, err)
			compareRun(t, want, parsed, engine{settings: true})
		})
	}
}

func decode(t testing.TB, raw protocol.Raw) any {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	must(t, d.Decode(&v))
	return v
}

func compareRun(t *testing.T, want *recording, sig *canvas.Signature, e engine) {
	t.Helper()
	if want.Error != "" {
		if plan, err := canvas.Apply(sig, nil, nil, (&engine{}).context()); err == nil {
			t.Errorf("applied %d messages where Celery raises %s", len(plan.Messages), want.Error)
		}
		return
	}
	got := e.carryOut(t, sig)
	names := &naming{}
	for i := range max(len(want.Steps), len(got)) {
		if i >= len(want.Steps) || i >= len(got) {
			t.Fatalf("%d steps, want %d", len(got), len(want.Steps))
		}
		for _, what := range []string{"messages", "handle", "sizes", "groups", "joins", "results", "parts", "calls", "revoked"} {
			path := fmt.Sprintf("step %d: %s", i, what)
			w, g := again(t, want.Steps[i][what]), again(t, got[i][what])
			if what == "results" || what == "parts" {
				compareSets(t, path, w, g, names)
			} else {
				compare(t, path, w, g, names)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// again brings a value into the form that JSON gives.
func again(t testing.TB, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return decode(t, b)
}
