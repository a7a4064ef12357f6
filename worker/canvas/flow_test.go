package canvas_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// flow is what went through Redis while Python workers carried out a canvas:
// the messages of the producer and of the worker, the results that the worker
// stored and the members of chords that it recorded.
type flow struct {
	Version, Name                string
	Produced, Published, Results []string
	Parts                        []struct{ Group, Score, Member string }
}

// TestRecordedFlows gives each message that a Python worker has run to the
// functions of this package, with the outcome that it had there, and compares
// what comes of it with what the Python worker has published and stored.
func TestRecordedFlows(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/flows.json.gz")
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	var flows []flow
	must(t, json.NewDecoder(z).Decode(&flows))
	if len(flows) < 20 {
		t.Fatalf("%d recorded flows: this test would prove little", len(flows))
	}
	for _, f := range flows {
		t.Run(f.Version+"/"+f.Name, func(t *testing.T) {
			t.Parallel()
			f.check(t)
		})
	}
}

func (f flow) check(t *testing.T) {
	var published []*protocol.Message
	for _, raw := range f.Published {
		m, err := protocol.Decode([]byte(raw), protocol.Limits{})
		must(t, err)
		published = append(published, m)
	}
	outcomes := map[string]*protocol.Result{}
	for _, raw := range f.Results {
		r, err := protocol.DecodeResult([]byte(raw))
		must(t, err)
		outcomes[r.TaskID] = r
	}
	var want, got []any
	for i, p := range published {
		if p.Retries == 0 {
			want = append(want, f.entry(t, []byte(f.Published[i])))
		}
	}
	checked := 0
	for _, raw := range slices.Concat(f.Produced, f.Published) {
		m, err := protocol.Decode([]byte(raw), protocol.Limits{})
		must(t, err)
		// A task that is retried runs twice under one id; the last run counts.
		if slices.ContainsFunc(published, func(p *protocol.Message) bool { return p.ID == m.ID && p.Retries > m.Retries }) {
			continue
		}
		for _, p := range f.plans(t, m, outcomes) {
			for _, o := range p.Messages {
				o.Message.RoutingKey = "celery"
				b, err := protocol.Encode(o.Message)
				must(t, err)
				got = append(got, f.entry(t, b))
			}
			for _, r := range p.Results {
				f.checkResult(t, r, outcomes[r.TaskID])
			}
			checked += len(p.Messages) + len(p.Results) + len(p.Calls)
		}
	}
	if checked == 0 {
		t.Error("nothing was published or stored: this flow proves nothing")
	}
	compareSets(t, "messages", again(t, want), again(t, got), &naming{})
}

// entry shows a message. Celery 5.6 gave the body of a chord inside of a chain
// the task before the chord as its parent, 5.7 leaves it to the last member.
func (f flow) entry(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	m, err := protocol.Decode(raw, protocol.Limits{})
	must(t, err)
	e := entryOf(t, raw, m, "")
	if !m.Chord.IsNull() {
		var body map[string]any
		if protocol.Unmarshal(m.Chord, &body) == nil {
			delete(body["options"].(map[string]any), "parent_id")
		}
		e["body"].([]any)[2].(map[string]any)["chord"] = body
	}
	return e
}

// plans returns what follows the run of m.
func (f flow) plans(t *testing.T, m *protocol.Message, outcomes map[string]*protocol.Result) (plans []*canvas.Plan) {
	t.Helper()
	c := canvas.Context{
		NewID: uuid.NewString, Now: noon, ReplyTo: uuid.NewString(), Origin: "test",
		Errback: func(task string) canvas.ErrbackStyle {
			if task == "rec.onerr_new" {
				return canvas.ErrbackCall
			}
			return canvas.ErrbackMessage
		},
	}
	add := func(p *canvas.Plan, err error) {
		t.Helper()
		must(t, err)
		plans = append(plans, p)
	}
	switch m.Task {
	case "rec.replace":
		p, err := canvas.Replace(m, canvas.New("rec.add", 5, 10), c)
		add(p, err)
		return plans
	case "rec.calls":
		child := c
		child.ParentID, child.RootID = m.ID, m.RootID
		p, err := canvas.Apply(canvas.New("rec.add", 1, 2), nil, nil, child)
		add(p, err)
	}
	outcome := outcomes[m.ID]
	if outcome == nil {
		return plans
	}
	result, _ := outcome.Result.(protocol.Raw)
	if outcome.Exception == nil {
		p, err := canvas.AfterSuccess(m, result, c)
		add(p, err)
	}
	if entry, ok := canvas.Member(m, outcome.Status, result); ok {
		last := f.Parts[len(f.Parts)-1]
		found := false
		var members []protocol.Raw
		parts := slices.Clone(f.Parts)
		slices.SortStableFunc(parts, func(a, b struct{ Group, Score, Member string }) int {
			return strings.Compare(a.Score, b.Score)
		})
		for _, p := range parts {
			members = append(members, protocol.Raw(p.Member))
			found = found || p.Member == string(entry.JSON) && p.Score == entry.Score && p.Group == entry.GroupID
		}
		if !found {
			t.Errorf("entry of %s in the chord is not what was recorded: %s, %s", m.Task, entry.Score, entry.JSON)
		}
		if last.Member == string(entry.JSON) {
			p, err := canvas.ChordBody(m, canvas.Joined{Members: members}, c)
			add(p, err)
		}
	}
	if outcome.Exception != nil {
		p, err := canvas.AfterFailure(m, outcome.Exception, outcome.Traceback, c)
		add(p, err)
	}
	return plans
}

func (f flow) checkResult(t *testing.T, got, want *protocol.Result) {
	t.Helper()
	if want == nil {
		t.Errorf("result of %s: not stored by Python", got.TaskID)
		return
	}
	g, err := canvas.ExceptionRaw(got.Exception)
	must(t, err)
	w, err := canvas.ExceptionRaw(want.Exception)
	must(t, err)
	if got.Status != want.Status || string(g) != string(w) || got.ParentID != want.ParentID || got.GroupID != want.GroupID {
		t.Errorf("result of %s: got %s %s, want %s %s", got.TaskID, got.Status, g, want.Status, w)
	}
}
