package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker/protocol"
)

// mend carries out the command that /health names for key, and waits until all is well.
func (w *relayWorker) mend(key string) {
	w.t.Helper()
	var text string
	eventually(w.t, 30*time.Second, "the health names "+key, func() bool {
		_, body := w.get("/health/keys")
		var state struct{ Text string }
		_ = json.Unmarshal([]byte(body), &state)
		text = state.Text
		return strings.Contains(text, "the key "+key+" is no ")
	})
	_, command, ok := strings.Cut(text, "redis-cli ")
	if !ok {
		w.t.Fatalf("no command in %q", text)
	}
	command, _, _ = strings.Cut(command, ";")
	out, err := exec.Command("bash", "-c", "redis-cli -p "+w.redis.port+" "+command).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "OK" {
		w.t.Fatalf("%s: %s %v", command, out, err)
	}
	eventually(w.t, 30*time.Second, "the health is well again", func() bool {
		code, _ := w.get("/health/keys")
		return code == http.StatusOK
	})
}

// Mails that are retried while the end of a task cannot be written: no retry is pushed
// twice, and each mail goes out once when that is mended.
func TestRetriesWhileTheirEndCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := startRelayWorker(t, "CONCURRENCY=4", "MAX_RETRIES=50")
	faults := map[string]struct{ begin, end func() }{
		"unacked_index is a string": {
			func() {
				w.redis.do("EVAL", "redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 'x')", 1, "unacked_index")
			},
			func() { w.mend("unacked_index") },
		},
		"ZREM is forbidden": {
			func() { w.redis.do("ACL", "SETUSER", "default", "-zrem") },
			func() { w.redis.do("ACL", "SETUSER", "default", "+zrem") },
		},
		"HDEL is forbidden": {
			func() { w.redis.do("ACL", "SETUSER", "default", "-hdel") },
			func() { w.redis.do("ACL", "SETUSER", "default", "+hdel") },
		},
		"LPUSH is forbidden": {
			func() { w.redis.do("ACL", "SETUSER", "default", "-lpush") },
			func() { w.redis.do("ACL", "SETUSER", "default", "+lpush") },
		},
	}
	for name, fault := range faults {
		before := len(w.relay.Mails())
		w.relay.refuse(".", "451 4.3.0 try again later")
		ids := w.welcome(4)
		eventually(t, time.Minute, "the mails are refused", func() bool { return w.relay.refusals() >= 4 })
		fault.begin()
		began := w.relay.refusals()
		pause(t, 3*time.Second) // in which the ends of the attempts are tried again and again
		during := w.relay.refusals() - began
		// A message may move between two looks; one that is pushed twice stays.
		var waiting int
		testkit.Poll(30*time.Second, func() bool {
			waiting = w.redis.waiting(queue) + w.redis.int("HLEN", "unacked")
			return waiting == 4
		})
		w.relay.refuse("", "")
		fault.end()
		w.arrived(ids, before)
		w.redis.settled(queue)
		t.Logf("%s: %d attempts of 4 mails in the 3 s of the fault, %d messages then, %d mails in the end", name, during, waiting, len(w.relay.Mails())-before)
		if waiting != 4 {
			t.Errorf("%s: %d messages for 4 mails", name, waiting)
		}
	}
}

// One message whose callback names a key stops no worker; nor does a key of another
// type: mails go out, and the health says what to do.
func TestKeysAsQueues(t *testing.T) {
	t.Parallel()
	w := startRelayWorker(t, "CONCURRENCY=4")
	callback := func(key string) {
		id := fmt.Sprintf("6f2b9a51-1d9c-4a8c-a0c3-f%011d", w.sent)
		w.sent++
		raw, err := protocol.Encode(&protocol.Message{
			Protocol: 2, ID: id, Task: prefix + "health_check", Args: protocol.Raw(`[]`), Kwargs: protocol.Raw(`{}`),
			DeliveryTag: id, RoutingKey: queue,
			Callbacks: protocol.Raw(fmt.Sprintf(`[{"task": "x", "args": [], "kwargs": {}, "options": {"queue": %q, "task_id": "follows-%s"}, "subtask_type": null, "immutable": false}]`, key, id)),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.redis.do("LPUSH", queue, raw)
		awaitResults(w.redis, []string{id}, time.Minute)
		eventually(t, 30*time.Second, key+": the callback has failed", func() bool {
			return w.redis.results([]string{"follows-" + id})["follows-"+id].Status == "FAILURE"
		})
	}
	names := []string{"_goworker.1.dead", "_goworker.1.dead.index", "_goworker.1.revoked", "_goworker.1.owners", "unacked_mutex", "unacked",
		"unacked_index", "_kombu.binding." + queue, "celery-task-meta-1"}
	for _, key := range names {
		before := len(w.relay.Mails())
		callback(key)
		w.redis.do("LPUSH", queue, "garbage")
		w.arrived(w.welcome(4), before)
	}
	eventually(t, time.Minute, "what had no queue, and the garbage, are dead letters", func() bool { return w.redis.int("HLEN", "_goworker.1.dead") == 2*len(names) })
	if code, body := w.get("/health/keys"); code != http.StatusOK {
		t.Errorf("a message has changed a key: %s", body)
	}

	letters := w.redis.int("HLEN", "_goworker.1.dead")
	for _, key := range []string{"_goworker.1.dead", "_goworker.1.dead.index", "_goworker.1.revoked", "_goworker.1.owners", "unacked_mutex", "_kombu.binding." + queue} {
		w.redis.do("EVAL", "redis.call('DEL', KEYS[1]) return redis.call('LPUSH', KEYS[1], 'x')", 1, key)
		before := len(w.relay.Mails())
		w.redis.do("LPUSH", queue, "garbage")
		w.arrived(w.welcome(4), before)
		if code, _ := w.get("/readyz"); code != http.StatusOK {
			t.Errorf("%s: not ready", key)
		}
		w.mend(key)
	}
	eventually(t, time.Minute, "no dead letter that came meanwhile is lost", func() bool {
		return w.redis.int("HLEN", "_goworker.1.dead") == 6 // the first key took the earlier ones with it
	})
	t.Logf("%d keys named by callbacks, 6 of another type: %d mails, each once; %d dead letters, and 6", len(names), len(w.relay.Mails()), letters)
}
