package e2e_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// foreignMessages are what clients in other languages put into a queue, for the task
// e2e.work; see worker/redis for all of them. %[1]s is the id.
var foreignMessages = map[string]struct{ envelope, body string }{
	"rust": {`{"body":"BODY","content-encoding":"utf-8","content-type":"application/json","headers":{"argsrepr":null,"eta":null,"expires":null,` +
		`"group":null,"id":"%[1]s","kwargsrepr":null,"lang":null,"meth":null,"origin":"gen1@h","parent_id":null,"retries":null,"root_id":null,` +
		`"shadow":null,"task":"e2e.work","timelimit":[null,null]},"properties":{"body_encoding":"base64","correlation_id":"%[1]s",` +
		`"delivery_tag":"4be4b4ab-6bcb-4f2b-a306-ea64e8a5b1dd","reply_to":null}}`,
		`[[],{"seconds":%[2]v,"number":7},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]`},
	"node": {`{"body":"BODY","content-type":"application/json","content-encoding":"utf-8","headers":{"lang":"js","task":"e2e.work","id":"%[1]s"},` +
		`"properties":{"body_encoding":"base64","delivery_info":{"exchange":"","routing_key":"q"},"delivery_mode":2,"delivery_tag":"%[1]s",` +
		`"correlationId":"%[1]s","replyTo":""}}`,
		`[[%[2]v,7],{},{}]`},
	"php": {`{"body":"BODY","headers":[],"content-type":"application\/json","content-encoding":"binary","properties":{"body_encoding":"base64",` +
		`"reply_to":"%[1]s","delivery_info":{"priority":0,"routing_key":"q","exchange":"q"},"delivery_mode":2,"delivery_tag":"%[1]s"}}`,
		`{"id":"%[1]s","task":"e2e.work","args":[%[2]v,7],"kwargs":{}}`},
	"go": {`{"body":"BODY","content-type":"application/json","properties":{"body_encoding":"base64","correlation_id":"c","reply_to":"r",` +
		`"delivery_info":{"priority":0,"routing_key":"q","exchange":"q"},"delivery_mode":2,"delivery_tag":"%[1]s"},"content-encoding":"utf-8"}`,
		`{"id":"%[1]s","task":"e2e.work","args":[%[2]v,7],"kwargs":{},"retries":0,"eta":null,"expires":null}`},
	"least": {`{"body":"BODY","content-type":"application/json","headers":{"task":"e2e.work","id":"%[1]s"},"properties":{"body_encoding":"base64"}}`,
		`[[%[2]v,7],{},null]`},
	"ids chosen freely": {`{"body":"BODY","content-type":"application/json","content-encoding":"utf-8","headers":{"lang":"py","task":"e2e.work",` +
		`"id":"%[1]s"},"properties":{"body_encoding":"base64","delivery_info":{"exchange":"","routing_key":"q"},"delivery_tag":"d"}}`,
		`[[%[2]v,7],{},{}]`},
}

// foreignID is the id of the message of a client, as JSON and as a key has it.
func foreignID(client string) (quoted, id string) {
	if client == "ids chosen freely" {
		return `a b\n\u00e4\u0000` + strings.Repeat("x", 1000), "a b\nä\x00" + strings.Repeat("x", 1000)
	}
	return client, client
}

func pushForeign(r *redisServer, seconds float64) (ids map[string]string) {
	ids = map[string]string{}
	for client, m := range foreignMessages {
		quoted, id := foreignID(client)
		body := strings.ReplaceAll(strings.ReplaceAll(m.body, "%[1]s", quoted), "%[2]v", fmt.Sprint(seconds))
		raw := strings.ReplaceAll(m.envelope, "%[1]s", quoted)
		r.do("LPUSH", queue, strings.Replace(raw, "BODY", base64.StdEncoding.EncodeToString([]byte(body)), 1))
		ids[client] = id
	}
	return ids
}

// TestForeignProducers runs what clients in other languages send, and stores the results
// where they look for them.
func TestForeignProducers(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	startWorker(t, r, "ours")
	ids := pushForeign(r, 0)
	for client, id := range ids {
		eventually(t, time.Minute, "result for "+client, func() bool { return r.results([]string{id})[id].Status == "SUCCESS" })
		if got := string(r.results([]string{id})[id].Result); got != "7" {
			t.Errorf("%s: %s, want 7", client, got)
		}
	}
	if dead := deadLetters(t, r); len(dead) != 0 {
		t.Errorf("%d dead letters, the first one: %+v", len(dead), dead[0])
	}
	r.settled(queue)
}

// TestForeignLeftToPython kills our worker while it has messages that would end a Python
// worker: what it has written of them a Python worker puts back and runs.
func TestForeignLeftToPython(t *testing.T) {
	t.Parallel()
	for _, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			ours := startWorker(t, r, "ours", "-concurrency", fmt.Sprint(len(foreignMessages)), "-least", "1h") // so none ends before the kill
			ids := pushForeign(r, 0.1)
			eventually(t, time.Minute, "all are claimed", func() bool { return r.int("HLEN", "unacked") == len(ids) })
			ours.kill()
			// Python looks once when it starts, and then not for a long time.
			eventually(t, time.Minute, "their visibility timeout is over", func() bool {
				return r.int("ZCOUNT", "unacked_index", "-inf", time.Now().Add(-2*time.Second).Unix()) == len(ids)
			})
			peer := startPeer(t, celery, r, queue, "theirs", time.Second)
			for client, id := range ids {
				eventually(t, 60*time.Second, "result for "+client, func() bool { return r.results([]string{id})[id].Status == "SUCCESS" })
			}
			if n := r.int("HINCRBY", "e2e:by", "python", 0); n < len(ids) {
				t.Errorf("the Python worker ran %d, want all %d", n, len(ids))
			}
			checkPeer(t, peer)
		})
	}
}
