package canvas_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

const plainTask = `{"task": "t", "args": [], "kwargs": {}, "options": {}, "subtask_type": null, "immutable": false}`

// nested puts a signature inside of itself.
func nested(depth int, before, after string) string {
	return strings.Repeat(before, depth) + plainTask + strings.Repeat(after, depth)
}

// TestLimits shows that what would explode is refused, not carried out: small
// signatures that nest without end, and those of the size of one message that
// stand for millions of tasks or bytes.
func TestLimits(t *testing.T) {
	t.Parallel()
	many := func(n int) string { return strings.Repeat(plainTask+",", n-1) + plainTask }
	chord := func(header, body string) string {
		return `{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [` + header + `], "body": ` + body + `}}`
	}
	group := func(tasks string) string {
		return `{"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": [` + tasks + `]}}`
	}
	for name, raw := range map[string]string{
		"chains":   nested(5000, `{"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [`, `]}}`),
		"groups":   nested(5000, `{"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": [`, `]}}`),
		"links":    nested(5000, `{"task": "t", "options": {"link": [`, `]}}`),
		"headers":  nested(5000, `{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"body": `+plainTask+`, "header": [`, `]}}`),
		"bodies":   nested(5000, `{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [`+plainTask+`], "body": `, `}}`),
		"in chord": nested(5000, `{"task": "t", "options": {"chord": `, `}}`),
		// Every member carries the body.
		"wide": chord(many(4000), group(many(4000))),
		// A million members, written once.
		"doubled": chord(chord(many(2000), group(many(1000))), group(chord(many(1000), many(1)))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var limit *canvas.LimitError
			s, err := canvas.Parse(protocol.Raw(raw))
			if err == nil {
				_, err = canvas.Apply(s, nil, nil, (&engine{}).context())
			}
			if !errors.As(err, &limit) {
				t.Fatalf("got %v, want a LimitError", err)
			}
		})
	}
}

// TestLargeIsFine shows that the limits leave room for what people do.
func TestLargeIsFine(t *testing.T) {
	t.Parallel()
	var tasks []*canvas.Signature
	for i := range 10_000 {
		tasks = append(tasks, canvas.New("t", i))
	}
	for name, s := range map[string]*canvas.Signature{
		"group": canvas.Group(tasks...),
		"chord": canvas.Chord(tasks, canvas.New("sum")),
		"chain": canvas.Chain(tasks[:1000]...),
	} {
		plan, err := canvas.Apply(s, nil, nil, (&engine{}).context())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := 10_000
		if name == "chain" {
			want = 1
		}
		if len(plan.Messages) != want {
			t.Errorf("%s: %d messages, want %d", name, len(plan.Messages), want)
		}
	}
}

// TestConstruction shows that a fault of construction is reported once the
// signature is used, wherever it is inside.
func TestConstruction(t *testing.T) {
	t.Parallel()
	bad := func() *canvas.Signature { return canvas.New("t", make(chan int)) }
	good := func() *canvas.Signature { return canvas.New("t") }
	loop := good()
	for range 300 {
		loop = canvas.New("t").Link(loop)
	}
	self := good()
	self.Link(self) // a copy: no cycle
	if _, err := self.Raw(); err != nil {
		t.Errorf("a task that is its own callback: %v", err)
	}
	for name, s := range map[string]*canvas.Signature{
		"argument":      bad(),
		"keyword":       good().Kwarg("k", func() {}),
		"in chain":      canvas.Chain(good(), bad()),
		"in group":      canvas.Group(good(), bad()),
		"in header":     canvas.Chord([]*canvas.Signature{bad()}, good()),
		"in body":       canvas.Chord([]*canvas.Signature{good()}, bad()),
		"callback":      good().Link(bad()),
		"errback":       canvas.Chain(good(), good()).LinkError(bad()),
		"in map":        canvas.Map(bad(), 1),
		"no name":       canvas.New(""),
		"nil":           canvas.Chain(good(), nil),
		"nil callback":  good().Link(nil),
		"option":        good().SetOption("x", make(chan int)),
		"link by name":  good().SetOption("link", []int{1}),
		"no chunk":      canvas.Chunks(good(), 0, 1),
		"links of 300":  loop,
		"chain keyword": canvas.Chain(good(), good()).Kwarg("k", 1),
	} {
		if s.Err() == nil && name != "links of 300" {
			t.Errorf("%s: no fault", name)
		}
		if _, err := canvas.Apply(s, nil, nil, (&engine{}).context()); err == nil {
			t.Errorf("%s: applied", name)
		}
		if _, err := s.Raw(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

// TestErrorsHoldNoContent looks for pieces of a signature in the errors about it.
func TestErrorsHoldNoContent(t *testing.T) {
	t.Parallel()
	const secret = "otp-4711"
	for _, raw := range []string{
		`"` + secret + `"`,
		`{"task": {"` + secret + `": 1}}`,
		`{"task": "t", "args": "` + secret + `"}`,
		`{"task": "t", "kwargs": "` + secret + `"}`,
		`{"task": "t", "subtask_type": "` + secret + `"}`,
		`{"task": "t", "options": {"link": "` + secret + `"}}`,
		`{"task": "t", "options": {"eta": "` + secret + `"}}`,
		`{"task": "t", "options": {"expires": "` + secret + `"}}`,
		`{"task": "t", "options": {"countdown": "` + secret + `"}}`,
		`{"task": "t", "options": {"queue": ["` + secret + `"]}}`,
		`{"task": "t", "options": {"headers": "` + secret + `"}}`,
		`{"task": "t", "args": ["` + secret + `"`,
	} {
		s, err := canvas.Parse(protocol.Raw(raw))
		if err == nil {
			_, err = canvas.Apply(s, nil, nil, (&engine{}).context())
		}
		if err == nil {
			t.Errorf("%s: no error", raw)
		} else if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// TestParseKeeps shows that what is passed on is passed on as it was.
func TestParseKeeps(t *testing.T) {
	t.Parallel()
	const raw = `{"task": "t", "args": [1.0, 1180591620717411303424, NaN, "\ud800", {"b": 1, "a": 2}], ` +
		`"kwargs": {"z": 1e5, "a": -0.0}, "options": {"queue": "q", "custom": {"x": null}}, "subtask_type": null, ` +
		`"immutable": true, "chord_size": null, "later": [1]}`
	s, err := canvas.Parse(protocol.Raw(raw))
	must(t, err)
	got, err := s.Raw()
	must(t, err)
	if string(got) != raw {
		t.Errorf("got  %s\nwant %s", got, raw)
	}
	for _, raw := range []string{`null`, ``, `[]`} {
		if all, err := canvas.ParseList(protocol.Raw(raw)); err != nil || len(all) != 0 {
			t.Errorf("ParseList(%q): %v, %v", raw, all, err)
		}
	}
	if all, err := canvas.ParseList(protocol.Raw(raw)); err != nil || len(all) != 1 || !all[0].IsImmutable() || all[0].Task() != "t" {
		t.Errorf("ParseList of one: %v, %v", all, err)
	}
	if _, err := canvas.ParseList(protocol.Raw(`[1]`)); err == nil {
		t.Error("ParseList of a number: no error")
	}
}

// TestApplyAgain shows that applying a signature leaves it as it was, so that it
// can be applied again and then gets other ids.
func TestApplyAgain(t *testing.T) {
	t.Parallel()
	for _, r := range records(t, "testdata/celery-5.7.json.gz") {
		if r.Object.Error != "" {
			continue
		}
		built := build(t, r.Spec)
		parsed, err := canvas.Parse(protocol.Raw(r.Signature))
		must(t, err)
		for _, s := range []*canvas.Signature{built, parsed} {
			before, err := s.Raw()
			must(t, err)
			// The second time inside of a worker, in a way that also changes copies.
			_, err = canvas.Apply(s, nil, nil, (&engine{}).context())
			must(t, err)
			m := &protocol.Message{ID: "go-0001", Task: "t"}
			if _, err := canvas.Replace(m, s, (&engine{}).context()); err != nil {
				known(t, err)
			}
			after, err := s.Raw()
			must(t, err)
			if string(before) != string(after) {
				t.Errorf("%s: changed by being applied:\n%s\n%s", r.Name, before, after)
			}
		}
	}
}

// TestParsedParts shows that parsed signatures can be composed like others, and
// that the slice of the caller stays as it is.
func TestParsedParts(t *testing.T) {
	t.Parallel()
	parse := func() *canvas.Signature {
		s, err := canvas.Parse(protocol.Raw(plainTask))
		must(t, err)
		return s
	}
	group, err := canvas.Group(canvas.New("a"), canvas.New("b")).Raw()
	must(t, err)
	g, err := canvas.Parse(group)
	must(t, err)
	parts := []*canvas.Signature{parse(), g, parse()}
	kept := []*canvas.Signature{parts[0], parts[1], parts[2]}
	plan, err := canvas.Apply(canvas.Chain(parts...), nil, nil, (&engine{}).context())
	must(t, err)
	rest, err := canvas.ParseList(plan.Messages[0].Message.Chain)
	must(t, err)
	if len(plan.Messages) != 1 || len(rest) != 1 || rest[0].Task() != "celery.chord" {
		t.Errorf("chain of parsed signatures: %d messages, %d to follow", len(plan.Messages), len(rest))
	}
	for i := range parts {
		if parts[i] != kept[i] {
			t.Errorf("element %d of the caller's slice has changed", i)
		}
	}
	plan, err = canvas.Apply(canvas.Chord(parts[:1], parse()), nil, nil, (&engine{}).context())
	must(t, err)
	if len(plan.Messages) != 1 || plan.Messages[0].Message.Chord == nil || len(plan.Sizes) != 1 || plan.Sizes[0].Size != 1 {
		t.Errorf("chord of parsed signatures: %d messages, sizes %v", len(plan.Messages), plan.Sizes)
	}
}

// TestNoIDs shows that a Context without ids is an error and no panic.
func TestNoIDs(t *testing.T) {
	t.Parallel()
	if _, err := canvas.Apply(canvas.New("t"), nil, nil, canvas.Context{}); err == nil {
		t.Error("applied without ids")
	}
}
