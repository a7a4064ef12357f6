package tasks_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// For any dictionary of a producer, the task ends in one of the three ways that producers
// know, with a readable result.
func FuzzArguments(f *testing.F) {
	for _, c := range calls() {
		f.Add(c.args[len(c.args)-1])
	}
	for _, data := range []string{`null`, `[]`, `{"quantity": NaN, "total_price": -Infinity}`, `{"event_name": "\ud800"}`,
		`{"total_price": 1e999999999}`, `{"booking_date": {"__type__": "datetime", "__value__": 5}}`, `{"":{}}`} {
		f.Add(data)
	}
	b := newBench(f, nil)
	f.Fuzz(func(t *testing.T, data string) {
		for _, of := range tasks.Mails() {
			m := task(of.Name, `[`+data+`]`, `{}`)
			if of.ToUser() {
				m = task(of.Name, `[42, `+data+`]`, `{}`)
			}
			b.out.sent = nil
			result, err := b.run(t.Context(), m)
			if g, ok := errors.AsType[*worker.GiveUpError](err); ok {
				result, err = g.Result, nil
			}
			if e, ok := errors.AsType[*worker.Exception](err); ok && e.Type == "TypeError" {
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", m.Name, err)
			}
			raw, err := protocol.Marshal(result)
			if err != nil {
				t.Fatalf("%s: encode the result: %v", m.Name, err)
			}
			var r struct {
				Success bool   `json:"success"`
				Error   string `json:"error"`
			}
			if err := protocol.Unmarshal(raw, &r); err != nil || r.Success == (r.Error != "") || r.Success != (len(b.out.sent) == 1) {
				t.Errorf("%s: result %s with %d mails, %v", m.Name, raw, len(b.out.sent), err)
			}
			if json.Valid([]byte(data)) && !json.Valid(raw) {
				t.Errorf("%s: JSON in, but out comes %s", m.Name, raw)
			}
		}
	})
}
