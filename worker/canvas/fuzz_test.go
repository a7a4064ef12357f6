package canvas_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// FuzzSignature parses and applies arbitrary text as a signature, as callbacks, as the
// rest of a chain and as the body of a chord.
func FuzzSignature(f *testing.F) {
	file, err := os.Open("testdata/celery-5.7.json.gz")
	must(f, err)
	defer file.Close()
	z, err := gzip.NewReader(file)
	must(f, err)
	var all []record
	must(f, json.NewDecoder(z).Decode(&all))
	for i, r := range all {
		if i%7 == 0 && len(r.Signature) < 4000 {
			f.Add([]byte(r.Signature))
		}
	}
	for _, s := range hostile {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		raw := protocol.Raw(b)
		limits := canvas.Limits{Messages: 200, Work: 50_000, Bytes: 1 << 20}
		c := (&engine{}).context()
		c.Limits = limits
		check := func(plan *canvas.Plan, err error) {
			t.Helper()
			if err != nil {
				known(t, err)
				return
			}
			total := 0
			for _, o := range plan.Messages {
				e, err := protocol.Encode(o.Message)
				if err != nil {
					t.Fatalf("a message of the plan cannot be encoded: %v", err)
				}
				if !json.Valid(plan.Handle) && plan.Handle != nil {
					t.Fatalf("handle is no JSON: %s", plan.Handle)
				}
				total += len(o.Message.Chord) + len(o.Message.Chain) + len(e)/1000
			}
			if len(plan.Messages) > limits.Messages || total > 4*limits.Bytes {
				t.Fatalf("%d messages, %d bytes", len(plan.Messages), total)
			}
		}
		m := &protocol.Message{ID: "go-0001", Task: "t", Group: "go-0002", Chain: array([]protocol.Raw{raw}), Callbacks: raw, Errbacks: raw, Chord: raw}
		check(canvas.AfterSuccess(m, protocol.Raw("1"), c))
		check(canvas.AfterFailure(m, &protocol.Exception{Type: "E", Module: "m"}, nil, c))
		check(canvas.ChordBody(m, canvas.Joined{Members: []protocol.Raw{protocol.Raw(`[1, "a", "SUCCESS", 1]`)}}, c))
		check(canvas.ChordBody(m, canvas.Joined{Members: []protocol.Raw{raw}}, c))
		check(canvas.ChordBody(m, canvas.Joined{Members: []protocol.Raw{protocol.Raw(`[1, "a", "FAILURE", {"exc_type": "E"}]`)}}, c))
		check(canvas.ChordBody(m, canvas.Joined{Saved: raw}, c))
		s, err := canvas.Parse(raw)
		if err != nil {
			known(t, err)
			return
		}
		text, err := s.Raw()
		if err != nil {
			known(t, err)
			return
		}
		again, err := canvas.Parse(text)
		must(t, err)
		second, err := again.Raw()
		must(t, err)
		if string(text) != string(second) {
			t.Fatalf("changed on its way:\n%s\n%s", text, second)
		}
		check(canvas.Apply(s, []protocol.Raw{protocol.Raw("1")}, protocol.Raw(`{"k": 1}`), c))
		plain := *m
		plain.Callbacks, plain.Errbacks, plain.Chain, plain.Chord = nil, nil, nil, nil
		check(canvas.Replace(&plain, s, c))
		check(canvas.Replace(m, s, c))
		check(canvas.AddToChord(m, s, c))
	})
}

// hostile are texts that have broken, or could break, a reader of signatures.
var hostile = []string{
	``, `null`, `[]`, `{}`, `1`, `"x"`, `{"task": 1}`, `{"task": ""}`,
	`{"task": "t", "args": {}, "kwargs": [], "options": 1}`,
	`{"task": "t", "options": {"link": 1}}`, `{"task": "t", "options": {"link": [null]}}`,
	`{"task": "t", "options": {"chord": []}}`, `{"task": "t", "options": {"task_id": 7}}`,
	`{"task": "t", "options": {"countdown": 1e300}}`, `{"task": "t", "options": {"countdown": NaN, "expires": "soon"}}`,
	`{"task": "t", "options": {"stamped_headers": ["a", "b"], "a": {}}}`,
	`{"task": "t", "options": {"task_id": "\ud800"}}`,
	`{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": []}}`,
	`{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": null, "body": null}}`,
	`{"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [{"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": []}}]}}`,
	`{"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": []}, "options": {"link": []}}`,
	`{"task": "t", "subtask_type": "dance"}`, `{"task": "t", "task": "u", "args": [1], "args": [2]}`,
	`{"result": [["a", null], [[["b", null], null]]]}`, `{"result": [[], []]}`, `{"result": 1}`,
}

// known fails the test for an error of a type that the package does not document.
func known(t *testing.T, err error) {
	t.Helper()
	var (
		signature *canvas.SignatureError
		option    *canvas.OptionError
		limit     *canvas.LimitError
		task      *canvas.TaskError
		decode    *protocol.DecodeError
	)
	if !errors.As(err, &signature) && !errors.As(err, &option) && !errors.As(err, &limit) && !errors.As(err, &task) && !errors.As(err, &decode) {
		t.Fatalf("%T: %v", err, err)
	}
}
