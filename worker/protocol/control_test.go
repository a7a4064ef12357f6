package protocol_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// parsed reads what an envelope has outside of its body.
type parsed struct {
	Headers struct {
		Clock    int64
		Expires  float64
		Ticket   string
		Hostname string
	}
	Properties struct {
		DeliveryTag string `json:"delivery_tag"`
	}
}

func outside(t testing.TB, raw string) (p parsed) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// A recorded request is written again byte for byte.
func TestControlRequestsRoundTrip(t *testing.T) {
	n := 0
	for _, r := range records(t, "celery-*/control.jsonl") {
		if !strings.HasPrefix(r.Name, "pidbox-request-") {
			continue
		}
		n++
		t.Run(r.folder+"/"+r.Name, func(t *testing.T) {
			var d protocol.Decoder
			q, err := d.DecodeControl([]byte(r.Raw))
			if err != nil {
				t.Fatal(err)
			}
			p := outside(t, r.Raw)
			var expires time.Time
			if p.Headers.Expires > 0 {
				expires = time.UnixMicro(int64(p.Headers.Expires*1e6 + 0.5))
			}
			got, err := protocol.EncodeControl(q, p.Properties.DeliveryTag, expires)
			if err != nil {
				t.Fatal(err)
			}
			// Seven digits of a second are more than we write.
			if want := cutExpires(r.Raw); cutExpires(string(got)) != want {
				t.Errorf("wrote\n%s, want\n%s", got, want)
			}
		})
	}
	if n < 50 {
		t.Errorf("only %d requests", n)
	}
}

// cutExpires leaves out the time in the header expires.
func cutExpires(raw string) string {
	before, rest, ok := strings.Cut(raw, `"expires": `)
	if !ok {
		return raw
	}
	return before + rest[strings.IndexByte(rest, '}'):]
}

func TestControlRepliesRoundTrip(t *testing.T) {
	n := 0
	for _, r := range records(t, "celery-*/control.jsonl") {
		if !strings.HasPrefix(r.Name, "pidbox-reply-") {
			continue
		}
		n++
		t.Run(r.folder+"/"+r.Name, func(t *testing.T) {
			var d protocol.Decoder
			reply, err := d.DecodeReply([]byte(r.Raw))
			if err != nil {
				t.Fatal(err)
			}
			id, _, _ := strings.Cut(r.Key, ".")
			q := &protocol.ControlRequest{
				ContentType: "application/json", ReplyTo: protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: id},
				Ticket: reply.Ticket,
			}
			got, err := protocol.EncodeReply(q, *reply, outside(t, r.Raw).Properties.DeliveryTag)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != r.Raw {
				t.Errorf("wrote\n%s, want\n%s", got, r.Raw)
			}
		})
	}
	if n < 50 {
		t.Errorf("only %d replies", n)
	}
}

// A reply is in the serializer of its request, so that the one that asks can
// read it.
func TestReplyInTheSerializerOfTheRequest(t *testing.T) {
	d := protocol.Decoder{Accept: protocol.Serializers()}
	for _, contentType := range []string{"application/json", "application/x-yaml", "application/x-msgpack"} {
		q := &protocol.ControlRequest{Method: "ping", Ticket: "t", ContentType: contentType,
			ReplyTo: protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: "r"}}
		raw, err := protocol.EncodeReply(q, protocol.ControlReply{Node: "w@h", Value: protocol.Raw(`{"ok": "pong"}`), Clock: 7}, "tag")
		if err != nil {
			t.Fatal(err)
		}
		reply, err := d.DecodeReply(raw)
		if err != nil || reply.Node != "w@h" || string(reply.Value) != `{"ok": "pong"}` || reply.Ticket != "t" || reply.Clock != 7 {
			t.Errorf("%s: read %+v, %v", contentType, reply, err)
		}
		if !strings.Contains(string(raw), contentType) {
			t.Errorf("%s is not in %s", contentType, raw)
		}
	}
}

func TestControlRequestsRefused(t *testing.T) {
	wrap := func(body string) string {
		raw, err := json.Marshal(map[string]any{
			"body": body, "content-type": "application/json", "content-encoding": "utf-8", "headers": map[string]any{},
			"properties": map[string]any{"delivery_tag": "t", "delivery_info": map[string]any{"exchange": "celery.pidbox", "routing_key": ""}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	var d protocol.Decoder
	for name, raw := range map[string]string{
		"nothing": "", "no JSON": "x", "no object": "[]", "no method": wrap(`{"arguments": {}}`),
		"method of another type": wrap(`{"method": 1}`), "arguments of another type": wrap(`{"method": "ping", "arguments": []}`),
		"body of another type": wrap(`["ping"]`), "too deep": wrap(strings.Repeat("[", 100)),
		"pickle": strings.Replace(wrap(`{"method": "ping"}`), "application/json", "application/x-python-serialize", 1),
	} {
		if q, err := d.DecodeControl([]byte(raw)); err == nil {
			t.Errorf("%s: read %+v", name, q)
		}
	}
	q, err := d.DecodeControl([]byte(wrap(`{"method": "ping", "destination": "w@h", "reply_to": 3, "ticket": [1], "clock": "x"}`)))
	if err != nil || q.Wanted() || q.Ticket != "" || len(q.Destination) != 1 || q.Destination[0] != "" {
		t.Errorf("read %+v, %v: want what makes no sense left out", q, err)
	}
}

func TestEventsRoundTrip(t *testing.T) {
	kinds := map[string]bool{}
	for _, r := range records(t, "celery-*/events.jsonl") {
		t.Run(r.folder+"/"+r.Name, func(t *testing.T) {
			p := outside(t, r.Raw)
			_, key, _ := strings.Cut(r.Key, "celeryev/")
			bodies := [][]byte{[]byte(r.Body)}
			if key == protocol.MultiRoutingKey {
				elements, err := protocol.Raw(r.Body).Elements()
				if err != nil {
					t.Fatal(err)
				}
				bodies = bodies[:0]
				for _, e := range elements {
					bodies = append(bodies, e)
				}
			}
			got, err := protocol.EncodeEvents(key, p.Headers.Hostname, p.Properties.DeliveryTag, bodies...)
			if err != nil || string(got) != r.Raw {
				t.Errorf("wrote\n%s, %v, want\n%s", got, err, r.Raw)
			}
			if key == protocol.MultiRoutingKey {
				kinds[key] = true
				return
			}
			var d protocol.Decoder
			e, err := d.DecodeEvent([]byte(r.Raw))
			if err != nil {
				t.Fatal(err)
			}
			kinds[e.Type] = true
			if protocol.EventRoutingKey(e.Type) != key {
				t.Errorf("event %s has the key %s", e.Type, key)
			}
			body, err := protocol.AppendEvent(nil, e)
			if err != nil || cutTimestamp(string(body)) != cutTimestamp(r.Body) {
				t.Errorf("wrote\n%s, %v, want\n%s", body, err, r.Body)
			}
		})
	}
	for _, k := range []string{"worker-online", "worker-heartbeat", "worker-offline", "worker-elect", "worker-elect-ack", "task-sent", protocol.MultiRoutingKey} {
		if !kinds[k] {
			t.Errorf("no %s was read", k)
		}
	}
}

// cutTimestamp leaves out the timestamp: Python writes seven digits of a second.
func cutTimestamp(body string) string {
	before, rest, ok := strings.Cut(body, `"timestamp": `)
	if !ok {
		return body
	}
	return before + rest[strings.IndexByte(rest, ','):]
}

func TestEventsThatCannotBeWritten(t *testing.T) {
	for name, fn := range map[string]func() ([]byte, error){
		"no body": func() ([]byte, error) { return protocol.EncodeEvents("worker.online", "w@h", "t") },
		"no host": func() ([]byte, error) { return protocol.EncodeEvents("worker.online", "", "t", []byte("{}")) },
		"no key":  func() ([]byte, error) { return protocol.EncodeEvents("", "w@h", "t", []byte("{}")) },
		"two in one": func() ([]byte, error) {
			return protocol.EncodeEvents("worker.online", "w@h", "t", []byte("{}"), []byte("{}"))
		},
		"broken field": func() ([]byte, error) {
			return protocol.AppendEvent(nil, &protocol.Event{Fields: []protocol.Field{{Name: "x", Value: protocol.Raw("{")}}})
		},
	} {
		if b, err := fn(); err == nil {
			t.Errorf("%s: wrote %s", name, b)
		}
	}
}
