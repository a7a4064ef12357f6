package protocol_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Every result that Celery has stored is written the same by us, but for the
// form of the time: naive before 5.4, in the zone of the application from 5.5.
func TestEncodeResultAsCelery(t *testing.T) {
	states := map[string]int{}
	for _, r := range records(t, "celery-*/results.jsonl") {
		decoded, err := protocol.DecodeResult([]byte(r.Raw))
		if err != nil {
			t.Errorf("%s/%s: %v", r.folder, r.Name, err)
			continue
		}
		states[decoded.Status]++
		if id := strings.TrimPrefix(r.Key, "celery-task-meta-"); decoded.TaskID != id {
			t.Errorf("%s/%s: TaskID = %s, want %s", r.folder, r.Name, decoded.TaskID, id)
		}
		if decoded.Status == protocol.StateFailure && decoded.Exception == nil {
			t.Errorf("%s/%s: no exception", r.folder, r.Name)
		}
		if c := string(decoded.Children); c == "[]" || decoded.Status == protocol.StateRetry {
			decoded.Children = nil // what EncodeResult must fill in by itself
		}
		if decoded.Exception != nil {
			decoded.Result = nil
		}
		got, err := protocol.EncodeResult(decoded)
		if err != nil {
			t.Errorf("%s/%s: %v", r.folder, r.Name, err)
			continue
		}
		want := r.Raw
		if at := member(t, want, "date_done"); at != "" {
			want = strings.Replace(want, at, `"`+protocol.FormatTime(decoded.DateDone)+`"`, 1)
		}
		if string(got) != want {
			t.Errorf("%s/%s:\nCelery %s\nours   %s", r.folder, r.Name, want, got)
		}
	}
	for _, s := range []string{"STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "PROGRESS"} {
		if states[s] == 0 {
			t.Errorf("no %s among the results", s)
		}
	}
}

func TestEncodeResult(t *testing.T) {
	done := time.Date(2026, 11, 23, 21, 28, 41, 188338999, time.FixedZone("", 3600))
	type answer struct {
		Success bool    `json:"success"`
		Total   float64 `json:"total"`
	}
	traceback := "line\n"
	tests := []struct {
		name string
		in   protocol.Result
		want string
	}{
		{"success", protocol.Result{TaskID: "i", Status: protocol.StateSuccess, Result: answer{true, 60}, DateDone: done},
			`{"status": "SUCCESS", "result": {"success": true, "total": 60.0}, "traceback": null, "children": [], "date_done": "2026-11-23T20:28:41.188338+00:00", "task_id": "i"}`},
		{"nothing", protocol.Result{TaskID: "i", Status: protocol.StateSuccess},
			`{"status": "SUCCESS", "result": null, "traceback": null, "children": [], "date_done": null, "task_id": "i"}`},
		{"null children", protocol.Result{TaskID: "i", Status: protocol.StateRevoked, Children: protocol.Raw("null")},
			`{"status": "REVOKED", "result": null, "traceback": null, "children": null, "date_done": null, "task_id": "i"}`},
		{"failure", protocol.Result{TaskID: "i", Status: protocol.StateFailure, Traceback: &traceback, GroupID: "g", ParentID: "p", Result: 7,
			Exception: &protocol.Exception{Type: "ValueError", Module: "builtins", Args: []any{"bøm", 1, 2.0, nil}}},
			`{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["b\u00f8m", 1, 2.0, null], "exc_module": "builtins"}, "traceback": "line\n", "children": [], "date_done": null, "group_id": "g", "parent_id": "p", "task_id": "i"}`},
		{"exception that is not JSON", protocol.Result{TaskID: "i", Status: protocol.StateFailure,
			Exception: &protocol.Exception{Type: "E", Module: "m", Args: []any{complex(1, 2), errors.New("x")}}},
			`{"status": "FAILURE", "result": {"exc_type": "E", "exc_message": ["(1+2i)", "x"], "exc_module": "m"}, "traceback": null, "children": [], "date_done": null, "task_id": "i"}`},
		{"retry", protocol.Result{TaskID: "i", Status: protocol.StateRetry},
			`{"status": "RETRY", "result": null, "traceback": null, "children": [[["i", null], null]], "date_done": null, "task_id": "i"}`},
		{"not a number", protocol.Result{TaskID: "i", Status: protocol.StateSuccess, Result: math.NaN()},
			`{"status": "SUCCESS", "result": NaN, "traceback": null, "children": [], "date_done": null, "task_id": "i"}`},
	}
	for _, tt := range tests {
		for range 3 {
			got, err := protocol.EncodeResult(&tt.in)
			if err != nil || string(got) != tt.want {
				t.Errorf("%s: %v\n got %s\nwant %s", tt.name, err, got, tt.want)
			}
			if !bytes.HasPrefix(got, []byte(`{"status": "`)) {
				t.Errorf("%s does not start with the status", got)
			}
		}
	}
	for name, bad := range map[string]protocol.Result{
		"value":    {TaskID: "i", Status: "SUCCESS", Result: func() {}},
		"children": {TaskID: "i", Status: "SUCCESS", Children: protocol.Raw("[")},
		"id":       {Status: "SUCCESS"},
		"status":   {TaskID: "i"},
		"args":     {TaskID: "i", Status: "SUCCESS", Extended: &protocol.Extended{Args: protocol.Raw("1 2")}},
	} {
		if b, err := protocol.EncodeResult(&bad); err == nil {
			t.Errorf("%s: encoded as %s", name, b)
		}
	}
	_, err := protocol.EncodeResult(&protocol.Result{TaskID: "i", Status: "SUCCESS", Result: make(chan int)})
	if _, ok := errors.AsType[*protocol.MarshalError](err); !ok {
		t.Errorf("a channel gives %v", err)
	}
}

func TestDecodeResultRefuses(t *testing.T) {
	for _, raw := range []string{``, `[]`, `{`, `{}`, `{"status": null}`, `{"status": "SUCCESS", "date_done": "yesterday"}`, `{"status": "SUCCESS"} {}`} {
		if r, err := protocol.DecodeResult([]byte(raw)); err == nil {
			t.Errorf("%s gives %+v", raw, r)
		} else if _, ok := errors.AsType[*protocol.DecodeError](err); !ok {
			t.Errorf("%s: %T", raw, err)
		}
	}
}
