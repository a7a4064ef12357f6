package redis_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// foreignMessages are what clients in other languages put into a queue, for the task
// "add" with 2 and 3 or with the keywords a and b. %s is the id.
var foreignMessages = map[string]string{
	// The crate celery, 0.5: no delivery_info, no priority, and null for what is not set.
	"rust": `{"body":"` + packed(`[[],{"a":2,"b":3},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]`) + `",` +
		`"content-encoding":"utf-8","content-type":"application/json","headers":{"argsrepr":null,"eta":null,"expires":null,"group":null,` +
		`"id":"%[1]s","kwargsrepr":null,"lang":null,"meth":null,"origin":"gen1@h","parent_id":null,"retries":null,"root_id":null,` +
		`"shadow":null,"task":"add","timelimit":[null,null]},"properties":{"body_encoding":"base64","correlation_id":"%[1]s",` +
		`"delivery_tag":"4be4b4ab-6bcb-4f2b-a306-ea64e8a5b1dd","reply_to":null}}`,
	"rust, with an ETA and an expiry": `{"body":"` + packed(`[[],{"a":2,"b":3},{}]`) + `",` +
		`"content-encoding":"utf-8","content-type":"application/json","headers":{"eta":"2020-01-01T10:00:00.123456789+00:00",` +
		`"expires":"2090-01-01T10:00:00+00:00","id":"%[1]s","task":"add","timelimit":[300,null]},` +
		`"properties":{"body_encoding":"base64","correlation_id":"%[1]s","delivery_tag":"d","reply_to":null}}`,
	// celery-node: names of properties in the manner of JavaScript, nothing for undefined.
	"node, protocol 2": `{"body":"` + packed(`[[2,3],{},{}]`) + `","content-type":"application/json","content-encoding":"utf-8",` +
		`"headers":{"lang":"js","task":"add","id":"%[1]s"},"properties":{"body_encoding":"base64","delivery_info":{"exchange":"",` +
		`"routing_key":"q"},"delivery_mode":2,"delivery_tag":"d","correlationId":"%[1]s","replyTo":""}}`,
	"node, undefined arguments": `{"body":"` + packed(`[null,{"a":2,"b":3},{}]`) + `","content-type":"application/json","content-encoding":"utf-8",` +
		`"headers":{"lang":"js","task":"add","id":"%[1]s"},"properties":{"body_encoding":"base64","delivery_info":{"exchange":"",` +
		`"routing_key":"q"},"delivery_mode":2,"delivery_tag":"d","correlationId":"%[1]s","replyTo":""}}`,
	"node, undefined keywords": `{"body":"` + packed(`[[2,3],null,{}]`) + `","content-type":"application/json","content-encoding":"utf-8",` +
		`"headers":{"lang":"js","task":"add","id":"%[1]s"},"properties":{"body_encoding":"base64","delivery_info":{"exchange":"",` +
		`"routing_key":"q"},"delivery_mode":2,"delivery_tag":"d"}}`,
	"node, protocol 1": `{"body":"` + packed(`{"task":"add","id":"%[1]s","args":[2,3]}`) + `","content-type":"application/json","content-encoding":"utf-8",` +
		`"headers":{},"properties":{"body_encoding":"base64","delivery_info":{"exchange":"","routing_key":"q"},"delivery_mode":2,` +
		`"delivery_tag":"d","correlationId":"%[1]s","replyTo":""}}`,
	// node-celery: the queue as the exchange, times without an offset.
	"node-celery": `{"body":"` + packed(`{"task":"add","args":[2,3],"kwargs":{},"id":"%[1]s","expires":"2090-01-01T00:00:00.000"}`) + `","headers":{},` +
		`"content-type":"application/json","content-encoding":"utf-8","properties":{"body_encoding":"base64","correlation_id":"%[1]s",` +
		`"delivery_info":{"exchange":"q","priority":0,"routing_key":"q"},"delivery_mode":2,"delivery_tag":"d","reply_to":"r"}}`,
	// celery-php: the id as the delivery tag, binary JSON, an empty array of headers in
	// older versions, and of keywords in programs that build the message by hand.
	"php": `{"body":"` + packed(`{"id":"%[1]s","task":"add","args":[2,3],"kwargs":{}}`) + `","headers":{},"content-type":"application\/json",` +
		`"content-encoding":"binary","properties":{"body_encoding":"base64","reply_to":"%[1]s","delivery_info":{"priority":0,"routing_key":"q",` +
		`"exchange":"q"},"delivery_mode":2,"delivery_tag":"%[1]s"}}`,
	"php, old": `{"body":"` + packed(`{"id":"%[1]s","task":"add","args":[2,3],"kwargs":[]}`) + `","headers":[],"content-type":"application\/json",` +
		`"content-encoding":"binary","properties":{"body_encoding":"base64","reply_to":"%[1]s","delivery_info":{"priority":0,"routing_key":"q",` +
		`"exchange":"q"},"delivery_mode":2,"delivery_tag":"%[1]s"}}`,
	"php, protocol 2": `{"body":"` + packed(`[[2,3],[],[]]`) + `","headers":{"task":"add","id":"%[1]s","group":null,"timelimit":[]},` +
		`"content-type":"application\/json","content-encoding":"UTF-8","properties":{"body_encoding":"base64","delivery_info":[]}}`,
	"php, named arguments": `{"body":"` + packed(`[{},{"a":2,"b":3},null]`) + `","headers":{"task":"add","id":"%[1]s"},` +
		`"content-type":"application\/json; charset=utf-8","properties":{"body_encoding":"base64","delivery_tag":"d"}}`,
	// gocelery: no headers, a priority in delivery_info, null for keywords.
	"go": `{"body":"` + packed(`{"id":"%[1]s","task":"add","args":[2,3],"kwargs":null,"retries":0,"eta":null,"expires":null}`) + `",` +
		`"content-type":"application/json","properties":{"body_encoding":"base64","correlation_id":"c","reply_to":"r","delivery_info":` +
		`{"priority":0,"routing_key":"q","exchange":"q"},"delivery_mode":2,"delivery_tag":"d"},"content-encoding":"utf-8"}`,
	// By hand, in a shell or in a program without a client: next to nothing.
	"least": `{"body":"` + packed(`[[2,3],{},null]`) + `","content-type":"application/json","headers":{"task":"add","id":"%[1]s"}}`,
	"least, plain": `{"body":"[[2,3],{},{}]","content-type":"application/json","headers":{"task":"add","id":"%[1]s"},` +
		`"properties":null}`,
	"least, says base64": `{"body":"[[2,3],{},{}]","content-type":"application/json","headers":{"task":"add","id":"%[1]s"},` +
		`"properties":{"body_encoding":"base64","delivery_info":null,"delivery_tag":null}}`,
	"least, says nothing": `{"body":"` + packed(`[[2,3],{},{}]`) + `","content-type":"application/json","headers":{"task":"add","id":"%[1]s"},` +
		`"properties":{"delivery_info":{"routing_key":"q"}}}`,
	"least, protocol 1": `{"body":"` + packed(`{"task":"add","id":"%[1]s","args":[2,3],"eta":"","expires":false}`) + `","content-type":"application/json",` +
		`"headers":null,"properties":[]}`,
	"null everywhere": `{"body":"` + packed(`[[2,3],null,null]`) + `","content-type":"application/json","content-encoding":null,"headers":{"task":"add",` +
		`"id":"%[1]s","lang":null,"retries":null,"timelimit":null,"group":null,"group_index":null,"root_id":null,"parent_id":null,"eta":null,` +
		`"expires":null,"argsrepr":null,"origin":null,"ignore_result":null,"stamps":null,"stamped_headers":null,"compression":null},` +
		`"properties":{"correlation_id":null,"reply_to":null,"delivery_mode":null,"delivery_info":{"exchange":null,"routing_key":null},` +
		`"priority":null,"body_encoding":"base64","delivery_tag":null}}`,
}

// packed is a body, written as kombu does. Its %s must survive.
func packed(body string) string { return "<" + body + ">" }

// foreign fills in the id and packs the body.
func foreign(message, id string) string {
	text := strings.ReplaceAll(message, "%[1]s", id)
	open, close := strings.Index(text, `"<`), strings.Index(text, `>"`)
	if open < 0 {
		return text
	}
	return text[:open+1] + base64.StdEncoding.EncodeToString([]byte(text[open+2:close])) + text[close+1:]
}

type addArgs struct {
	A int `celery:"a"`
	B int `celery:"b"`
}

// Parts that clients in other languages leave out are added, and the result is stored where
// they look for it.
func TestForeignClients(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: map[string]worker.Definition{
		"add": {Handler: worker.Func(func(_ context.Context, in addArgs) (int, error) { return in.A + in.B, nil })},
	}})
	ids := map[string]string{}
	for client, message := range foreignMessages {
		ids[client] = strings.ReplaceAll(client, " ", "-")
		do(t, c, "LPUSH", "q", foreign(message, ids[client]))
	}
	for client, id := range ids {
		eventually(t, client+" has a result", func() bool { return result(t, c, id).Status != "PENDING" })
		if got := result(t, c, id); got.Status != "SUCCESS" || string(got.Result) != "5" {
			t.Errorf("%s: %s %s, want SUCCESS 5", client, got.Status, got.Result)
		}
	}
	eventually(t, "all are acknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
	if n := count(t, c, "HLEN", "_goworker.1.dead"); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
}

// An entry of unacked must be one that a Python worker can put back, with the queue that
// the message was found in; what is put back says that it was delivered before.
func TestForeignEntries(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	for client, message := range foreignMessages {
		do(t, c, "LPUSH", "q", foreign(message, client))
	}
	consumer := newConsumer(t, redis.Config{URL: s.URL(0)})
	claimed := 0
	for range 100 {
		ds := consumer.claim(t, 10)
		claimed += len(ds)
		for _, d := range ds {
			entry, err := protocol.ParseEntry([]byte(do(t, c, "HGET", "unacked", d.Claim).([]byte)))
			if err != nil || entry.Exchange != "" || entry.RoutingKey != "q" {
				t.Fatalf("entry of %s: %+v, %v", d.Raw, entry, err)
			}
			if err := protocol.Restorable(entry.Raw); err != nil {
				t.Errorf("%s: %v", entry.Raw, err)
			}
			if again, err := protocol.MarkRedelivered(entry.Raw); err != nil || !strings.Contains(string(again), `"redelivered": true`) {
				t.Errorf("%s put back: %v", again, err)
			}
			if _, err := protocol.Decode(d.Raw, protocol.Limits{}); err != nil {
				t.Errorf("%s: %v", d.Raw, err)
			}
		}
		if len(ds) == 0 && count(t, c, "LLEN", "q") == 0 {
			break
		}
	}
	if claimed != len(foreignMessages) {
		t.Errorf("%d messages claimed, want %d", claimed, len(foreignMessages))
	}
}

// A chord of Celery 4.4 or 5.0: how many members it has stands in its body and nowhere
// else.
func TestChordSizeInTheMessage(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Publishing: worker.Publishing{DefaultQueue: "q"}, Tasks: map[string]worker.Definition{
		"add": {Handler: worker.Func(func(_ context.Context, in addArgs) (int, error) { return in.A + in.B, nil })},
		"sum": {Handler: worker.Func(func(_ context.Context, in struct{ Numbers []int }) (sum int, err error) {
			for _, n := range in.Numbers {
				sum += n
			}
			return sum, nil
		})},
	}})
	const members = 3
	for _, version := range []string{"4.4", "5.0"} {
		body := fmt.Sprintf(`{"task": "sum", "args": [], "kwargs": {}, "options": {"queue": "q", "task_id": "body-%s", "reply_to": "r"}, `+
			`"subtask_type": null, "chord_size": %d, "immutable": false}`, version, members)
		for i := range members {
			send(t, c, "q", "add", fmt.Sprintf("[%d, 1]", i), func(m *protocol.Message) {
				m.Group, m.GroupIndex, m.Chord = "group-"+version, &i, protocol.Raw(body)
			})
		}
		eventually(t, "the body has run", func() bool { return result(t, c, "body-"+version).Status == "SUCCESS" })
		if got := result(t, c, "body-"+version); string(got.Result) != "6" {
			t.Errorf("%s: the body returned %s, want 6", version, got.Result)
		}
		for _, suffix := range []string{".j", ".s", ".t"} {
			if n := count(t, c, "EXISTS", "celery-taskset-meta-group-"+version+suffix); n != 0 {
				t.Errorf("%s: %s is left", version, suffix)
			}
		}
	}
}

// Producers choose ids. Any text is one, as in Python, and the result is stored where
// AsyncResult looks for it. Celery itself cannot store the result of the last ones.
func TestIDsOfProducers(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	runWorker(t, redis.Config{URL: s.URL(0)}, worker.Config{Tasks: nothing(), TrackStarted: true})
	for name, id := range map[string]struct{ quoted, key string }{
		"256 bytes":          {`"` + strings.Repeat("a", 256) + `"`, strings.Repeat("a", 256)},
		"5,000 bytes":        {`"` + strings.Repeat("b", 5000) + `"`, strings.Repeat("b", 5000)},
		"line feed":          {`"a\nb"`, "a\nb"},
		"NUL":                {`"a\u0000b"`, "a\x00b"},
		"DEL":                {`"a\u007fb"`, "a\x7fb"},
		"space":              {`" a b "`, " a b "},
		"other letters":      {`"\u00e4\ud83d\ude00"`, "ä😀"},
		"separators of ours": {`"a:b.c,d\u0006\u0016"`, "a:b.c,d\x06\x16"},
		"number":             {`42`, "42"},
	} {
		for _, redelivered := range []string{"", `"redelivered": true, `} {
			do(t, c, "DEL", "celery-task-meta-"+id.key)
			do(t, c, "LPUSH", "q", `{"body": "W1tdLCB7fSwge31d", "content-type": "application/json", "headers": {`+redelivered+`"task": "nothing", "id": `+id.quoted+
				`}, "properties": {"body_encoding": "base64", "delivery_tag": "d", "delivery_info": {`+redelivered+`"exchange": "", "routing_key": "q"}}}`)
			eventually(t, "the task has a result: "+name, func() bool { return result(t, c, id.key).Status == "SUCCESS" })
		}
	}
	eventually(t, "all are acknowledged", func() bool { return count(t, c, "HLEN", "unacked") == 0 })
	// Without a valid id there is no result to look for.
	for _, id := range []string{`""`, `true`, `[1]`, `{}`, `1.5`, `"\ud800"`, `null`, `"` + strings.Repeat("x", 64<<10+1) + `"`} {
		do(t, c, "LPUSH", "q", `{"body": "W1tdLCB7fSwge31d", "content-type": "application/json", "headers": {"task": "nothing", "id": `+id+
			`}, "properties": {"body_encoding": "base64", "delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "q"}}}`)
	}
	eventually(t, "they are dead letters", func() bool { return count(t, c, "HLEN", "_goworker.1.dead") == 8 })
	// Unless the correlation id, which Celery makes of the task id, tells it.
	do(t, c, "LPUSH", "q", `{"body": "W1tdLCB7fSwge31d", "content-type": "application/json", "headers": {"task": "nothing", "id": ""`+
		`}, "properties": {"correlation_id": "c", "body_encoding": "base64", "delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "q"}}}`)
	eventually(t, "it is answered", func() bool { return result(t, c, "c").Status == "FAILURE" })
}
