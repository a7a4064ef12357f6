package canvas_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// A saved header is joined in the order of Celery: its groups before its tasks, and the
// members of a group in their order, of which groups are joined like the whole. The first
// failure is that of the body. The failure of another chord is handed on as it is.
func TestJoinSavedHeader(t *testing.T) {
	t.Parallel()
	group := func(members ...string) string {
		return `[["g", null], [` + strings.Join(members, ", ") + `]]`
	}
	task := func(id string) string { return fmt.Sprintf(`[[%q, null], null]`, id) }
	for name, c := range map[string]struct {
		header string
		failed []string
		want   string
	}{
		"tasks":                    {group(group(task("a")), task("b"), task("c")), []string{"b", "c"}, "Join error: ValueError('b')"},
		"a task before a group":    {group(task("a"), group(task("b"))), []string{"a", "b"}, "Join error: ValueError('b')"},
		"a task after a group":     {group(group(task("a")), task("b")), []string{"a", "b"}, "Join error: ValueError('a')"},
		"groups":                   {group(group(task("a")), task("b"), group(task("c"))), []string{"b", "c"}, "Join error: ValueError('c')"},
		"a task in a group":        {group(task("x"), group(task("a"), group(task("b")))), []string{"a", "b"}, "Join error: ValueError('a')"},
		"a group in a group":       {group(task("x"), group(group(task("a")), task("b"))), []string{"a", "b"}, "Join error: ValueError('a')"},
		"three deep":               {group(task("x"), group(task("y"), group(task("a"), group(task("b"))))), []string{"a", "b"}, "Join error: ValueError('b')"},
		"a chord":                  {group(task("chord"), group(task("a"))), []string{"chord"}, "Dependency d raised ValueError('no')"},
		"a chord in a group":       {group(task("x"), group(task("chord"))), []string{"chord"}, "Dependency d raised ValueError('no')"},
		"a task without a result":  {group(task("missing"), group(task("a"))), nil, "Join error: TimeoutError('The operation timed out.')"},
		"a failure after a chord":  {group(task("chord"), group(task("a"))), []string{"chord", "a"}, "Join error: ValueError('a')"},
		"a failure beside success": {group(task("x"), group(task("a")), task("b")), []string{"b"}, "Join error: ValueError('b')"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			saved := protocol.Raw(`{"result": ` + c.header + `}`)
			ids, err := canvas.SavedIDs(saved)
			must(t, err)
			results := map[string]*protocol.Result{}
			for _, id := range ids {
				r := &protocol.Result{TaskID: id, Status: protocol.StateSuccess, Result: protocol.Raw("1")}
				if slices.Contains(c.failed, id) {
					r.Status, r.Exception = protocol.StateFailure, &protocol.Exception{Type: "ValueError", Module: "builtins", Args: []any{id}}
				}
				results[id] = r
			}
			delete(results, "missing")
			if r := results["chord"]; r != nil {
				r.Exception = &protocol.Exception{Type: "ChordError", Module: "celery.exceptions", Args: []any{"Dependency d raised ValueError('no')"}}
			}
			m := &protocol.Message{Protocol: 2, ID: "m", Task: "t", Group: "g", Chord: protocol.Raw(`{"task": "t", "options": {"task_id": "body"}}`)}
			plan, err := canvas.ChordBody(m, canvas.Joined{Saved: saved, Results: results}, canvas.Context{NewID: func() string { return "new" }})
			must(t, err)
			if !plan.BodyFailed || len(plan.Results) != 1 || plan.Results[0].TaskID != "body" {
				t.Fatalf("plan %+v, want a failure of the body alone", plan)
			}
			if e := plan.Results[0].Exception; e.Type != "ChordError" || len(e.Args) != 1 || e.Args[0] != c.want {
				t.Errorf("%s %v, want ChordError %s", e.Type, e.Args, c.want)
			}
		})
	}
}
