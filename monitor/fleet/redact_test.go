package fleet_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/worker/protocol"
)

// What Python's workers tell of arguments, results and errors is stored without secrets.
func TestRedaction(t *testing.T) {
	params := func(task string) []string {
		if task == "otp" {
			return []string{"user", "otp"}
		}
		return nil
	}
	const code, token, password = "482913", "eyJhbGciOiJIUzI1NiJ9.x1Y2z3", "hunter-sesame"
	for _, test := range []struct {
		name         string
		event        fields
		args, kwargs string
	}{
		{"named in a dict", fields{"kwargs": `{'otp': '482913', 'user_id': 123456, 'email': 'anna@example.com'}`}, "", `{'otp': '[redacted]', 'user_id': 123456, 'email': '***@example.com'}`},
		{"by its parameter", fields{"name": "otp", "args": `(7701, '482913')`}, `(7701, '[redacted]')`, ""},
		{"without a name", fields{"args": `('482913', 'Anna', 12, 'f3b1c7de-0000-4000-8000-123456789abc')`}, `('[redacted]', 'Anna', 12, 'f3b1c7de-0000-4000-8000-123456789abc')`, ""},
		{"a number without a name", fields{"args": `[482913]`}, `['[redacted]']`, ""},
		{"in a list in a dict", fields{"kwargs": `{'codes': ['482913', 'x'], 'ids': [123456]}`}, "", `{'codes': ['[redacted]', '[redacted]'], 'ids': [123456]}`},
		{"in a dict below its name", fields{"kwargs": `{'token': {'a': {'b': 'eyJhbGciOiJIUzI1NiJ9.x1Y2z3'}}}`}, "", `{'token': {'a': {'b': '[redacted]'}}}`},
		{"a token without a name", fields{"args": `('eyJhbGciOiJIUzI1NiJ9.x1Y2z3',)`}, `('[redacted]',)`, ""},
		{"cut by Celery", fields{"kwargs": `{'password': 'hunter-ses...`}, "", `{'password': '[redacted]'`},
		{"of an object", fields{"args": `(Login(user='anna', password='hunter-sesame'),)`}, `(Login(user='anna', password='[redacted]'),)`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, c := newState(t, fleet.Config{Params: params})
			e := fields{"type": "task-received", "uuid": "x", "name": "n"}
			for name, value := range test.event {
				e[name] = value
			}
			take(t, s, c, e)
			f := task(t, s, "x")
			if f.Args != test.args || f.Kwargs != test.kwargs {
				t.Errorf("args %s, kwargs %s\nwant %s, %s", f.Args, f.Kwargs, test.args, test.kwargs)
			}
			take(t, s, c, fields{"type": "task-retried", "uuid": "x", "exception": fmt.Sprintf("SMTPError('%s')", code), "traceback": "File \"x\", line 1234\n" + code},
				fields{"type": "task-succeeded", "uuid": "x", "result": fmt.Sprintf("'sent %s, %s, %s to bob@example.com'", code, token, password)})
			f = task(t, s, "x")
			all, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{code, token, password} {
				if value, _ := json.Marshal(test.event); strings.Contains(string(value), secret) && strings.Contains(string(all), secret) {
					t.Errorf("%s is shown: %s", secret, all)
				}
			}
			if strings.Contains(string(all), "bob@") || strings.Contains(string(all), "anna@") {
				t.Errorf("an address is shown: %s", all)
			}
			if !strings.Contains(f.Traceback, "line 1234") {
				t.Errorf("the traceback has lost its line: %q", f.Traceback)
			}
		})
	}
}

// FuzzTake gives hostile events to a State: it must stay within its bounds and keep what it
// tells well-formed.
func FuzzTake(f *testing.F) {
	for _, seed := range []string{
		`{"type": "worker-heartbeat", "hostname": "w@h", "timestamp": 1800000000.5, "freq": 2, "clock": 1, "loadavg": [1, 2, 3, 4], "active": "x"}`,
		`[{"type": "task-received", "hostname": "w@h", "timestamp": 1e9, "uuid": "a", "name": "n", "args": "('x', {'otp': '1234'", "kwargs": "{", "parent_id": "a", "root_id": "b"}]`,
		`[{"type": "task-failed", "hostname": "w", "timestamp": 1e308, "uuid": "a", "exception": 7, "traceback": [1], "runtime": NaN}, {}]`,
		`{"type": "task-", "hostname": "@", "timestamp": 1, "uuid": " "}`,
		`{"type": "task-succeeded", "hostname": "\u0000\n<script>", "timestamp": 1, "uuid": "\ud800", "runtime": -1, "result": "\\"}`,
		`{"type": "task-sent", "hostname": "w@h", "timestamp": 1, "uuid": "a", "eta": "2026-01-01T00:00:00", "retries": 1e400, "queue": ""}`,
		`[[]]`, `[`, `7`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, c := newState(t, fleet.Config{Tasks: 4, Workers: 4, Bytes: 20_000})
		for range 2 {
			raw, err := protocol.AppendEvents(nil, "task.multi", "w@h", "tag", body)
			if err != nil {
				return
			}
			s.Take(raw)
			take(t, s, c, fields{"type": "task-succeeded", "uuid": "a", "runtime": 1})
		}
		status := s.Status()
		if status.Tasks > 4 || status.Workers > 4 || status.Bytes > 40_000 || status.Bytes < 0 || status.Events < 2 {
			t.Errorf("status %+v", status)
		}
		page, err := s.Tasks(fleet.Filter{Search: "a"})
		if err != nil || len(page.Tasks) != page.Total {
			t.Errorf("page %+v, %v", page, err)
		}
		for _, task := range page.Tasks {
			if _, ok := s.Task(task.ID); !ok {
				t.Errorf("task %q is in the list only", task.ID)
			}
		}
		if _, err := json.Marshal([]any{s.Workers(), s.Types(), s.Series(fleet.Window), s.Latency(fleet.Window), page}); err != nil {
			t.Error(err)
		}
	})
}
