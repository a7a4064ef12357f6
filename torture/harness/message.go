package harness

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
)

// Task is what is sent; the zero value is a task that returns its number at once.
type Task struct {
	Name     string    // default: e2e.work
	Seconds  float64   // first argument of tasks that have one
	Args     []any     // all arguments, instead of seconds and number
	ETA      time.Time // zero: at once
	Expires  time.Time // zero: never
	Headers  string    // more headers, as members of a JSON object: `"name": "value"`
	Priority int
	Padding  int    // bytes that the message is larger
	Repr     string // of the arguments, as producers send it; default: "()"
}

// uuid draws an id from the seed.
func (r *Run) uuid() string {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(r.Chance.UintN(256))
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// Message makes a message as Celery 5 publishes it, byte for byte in its form.
func (r *Run) Message(number int, t Task) (id, raw string) {
	name := t.Name
	if name == "" {
		name = "e2e.work"
	}
	args := t.Args
	if args == nil {
		args = []any{t.Seconds, number}
	}
	kwargs := map[string]any{}
	body, err := json.Marshal([]any{args, kwargs, map[string]any{"callbacks": nil, "errbacks": nil, "chain": nil, "chord": nil}})
	if err != nil {
		r.Fatalf("arguments of a task: %v", err)
	}
	repr := t.Repr
	if repr == "" {
		repr = "()"
	}
	quoted, err := json.Marshal(repr + strings.Repeat("x", t.Padding))
	if err != nil {
		r.Fatalf("arguments of a task: %v", err)
	}
	moment := func(at time.Time) string {
		if at.IsZero() {
			return "null"
		}
		return `"` + at.UTC().Format("2006-01-02T15:04:05.000000+00:00") + `"`
	}
	more := ""
	if t.Headers != "" {
		more = ", " + t.Headers
	}
	id = r.uuid()
	return id, fmt.Sprintf(`{"body": "%s", "content-encoding": "utf-8", "content-type": "application/json", `+
		`"headers": {"lang": "py", "task": "%s", "id": "%s", "shadow": null, "eta": %s, "expires": %[10]s, "group": null, `+
		`"group_index": null, "retries": 0, "timelimit": [null, null], "root_id": "%[3]s", "parent_id": null, `+
		`"argsrepr": %[5]s, "kwargsrepr": "{}", "origin": "gen1@torture", "ignore_result": false, `+
		`"replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}%[11]s}, `+
		`"properties": {"correlation_id": "%[3]s", "reply_to": "%[6]s", "delivery_mode": 2, `+
		`"delivery_info": {"exchange": "", "routing_key": "%[7]s"}, "priority": %[8]d, "body_encoding": "base64", "delivery_tag": "%[9]s"}}`,
		base64.StdEncoding.EncodeToString(body), name, id, moment(t.ETA), quoted, r.uuid(), Queue, t.Priority, r.uuid(), moment(t.Expires), more)
}

// list is the key that a message of a priority waits in.
func list(priority int) string {
	if step := min(priority/3*3, 9); step > 0 {
		return fmt.Sprintf("%s\x06\x16%d", Queue, step)
	}
	return Queue
}

// Send publishes n tasks as a producer does and returns their ids. Their numbers
// are their places among all that the stage has sent.
func (s *Stage) Send(n int, t Task) []string {
	s.Helper()
	ids := make([]string, 0, n)
	c := s.Redis.Pool.Get()
	defer c.Close()
	for len(ids) < n {
		batch := min(500, n-len(ids))
		for range batch {
			id, raw := s.Message(len(s.IDs), t)
			s.IDs, ids = append(s.IDs, id), append(ids, id)
			if err := c.Send("LPUSH", list(t.Priority), raw); err != nil {
				s.Fatalf("send tasks: %v", err)
			}
		}
		if _, err := redis.Ints(c.Do("")); err != nil { // a reply may be a refusal
			s.Fatalf("send tasks: %v", err)
		}
	}
	return ids
}

// SendFirst publishes one task to the front of the queue: it is served next,
// whatever waits.
func (s *Stage) SendFirst(t Task) string {
	s.Helper()
	id, raw := s.Message(len(s.IDs), t)
	s.IDs = append(s.IDs, id)
	s.Redis.Do("RPUSH", list(t.Priority), raw)
	return id
}
