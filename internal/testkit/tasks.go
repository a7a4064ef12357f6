package testkit

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// PrioritySuffixes are what kombu appends to the name of a queue.
var PrioritySuffixes = []string{"", "\x06\x163", "\x06\x166", "\x06\x169"}

// Waiting counts the messages of a queue on all its priority lists.
func (r *Redis) Waiting(queue string) int {
	r.t.Helper()
	n := 0
	for _, suffix := range PrioritySuffixes {
		n += r.Int("LLEN", queue+suffix)
	}
	return n
}

// StoredResult is what Celery finds about a task in its result backend.
type StoredResult struct {
	Status string          `json:"status"`
	Result json.RawMessage `json:"result"`
	TaskID string          `json:"task_id"`
}

// Final reports whether the task has ended.
func (s StoredResult) Final() bool {
	return s.Status == "SUCCESS" || s.Status == "FAILURE" || s.Status == "REVOKED"
}

// Results reads the stored results of tasks; those without one are left out.
func (r *Redis) Results(ids []string) map[string]StoredResult {
	r.t.Helper()
	found := make(map[string]StoredResult, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), 1000)
		keys := make([]any, n)
		for i, id := range ids[:n] {
			keys[i] = "celery-task-meta-" + id
		}
		for i, value := range r.Strings("MGET", keys...) {
			if value == "" {
				continue
			}
			var result StoredResult
			if err := json.Unmarshal([]byte(value), &result); err != nil {
				r.t.Fatalf("result of task %s is not JSON: %v", ids[i], err)
			}
			found[ids[i]] = result
		}
		ids = ids[n:]
	}
	return found
}

// Runs returns how often each task has run to its end, as the tasks made for
// tests note it themselves.
func (r *Redis) Runs() map[string]int {
	r.t.Helper()
	return r.IntMap("HGETALL", "e2e:ran")
}

// Message is what tests look at of a task message.
type Message struct {
	Headers struct {
		ID          string `json:"id"`
		Task        string `json:"task"`
		Retries     int    `json:"retries"`
		Redelivered bool   `json:"redelivered"`
	} `json:"headers"`
	Properties struct {
		DeliveryInfo struct {
			Redelivered bool `json:"redelivered"`
		} `json:"delivery_info"`
	} `json:"properties"`
}

// ParseMessage reads a task message that must be one.
func ParseMessage(t T, raw string) Message {
	t.Helper()
	var m Message
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatalf("message in the queue: %v", err)
	}
	return m
}

// Unacked returns the messages that are claimed and not acknowledged. An entry
// that Python could not read ends the test: it would end every Python worker.
func (r *Redis) Unacked() []Message {
	r.t.Helper()
	var messages []Message
	for _, raw := range r.Strings("HVALS", "unacked") {
		var entry []json.RawMessage // message, exchange, routing key
		if err := json.Unmarshal([]byte(raw), &entry); err != nil || len(entry) != 3 {
			r.t.Fatalf("entry of unacked: %v, %d parts", err, len(entry))
		}
		messages = append(messages, ParseMessage(r.t, string(entry[0])))
	}
	return messages
}

// Nowhere lists the tasks that are neither waiting nor claimed nor done.
func (r *Redis) Nowhere(queue string, ids []string) []string {
	r.t.Helper()
	somewhere := make(map[string]bool)
	for _, suffix := range PrioritySuffixes {
		for _, raw := range r.Strings("LRANGE", queue+suffix, 0, -1) {
			somewhere[ParseMessage(r.t, raw).Headers.ID] = true
		}
	}
	for _, m := range r.Unacked() {
		somewhere[m.Headers.ID] = true
	}
	for id, result := range r.Results(ids) {
		if result.Final() {
			somewhere[id] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return somewhere[id] })
}

// Settled fails unless nothing is claimed or waiting any more.
func (r *Redis) Settled(queue string) {
	r.t.Helper()
	Eventually(r.t, 30*time.Second, fmt.Sprintf("queue %s, unacked and unacked_index are empty", queue), func() bool {
		return r.Waiting(queue)+r.Int("HLEN", "unacked")+r.Int("ZCARD", "unacked_index") == 0
	})
}
