package protocol_test

import (
	"errors"
	"fmt"

	"github.com/evently/workers/worker/protocol"
)

// A message as Celery 5 publishes it; the body is
// [["ada@example.com"], {"locale": "de"}, {}] in base64.
const published = `{"body": "W1siYWRhQGV4YW1wbGUuY29tIl0sIHsibG9jYWxlIjogImRlIn0sIHt9XQ==",
	"content-encoding": "utf-8", "content-type": "application/json",
	"headers": {"lang": "py", "task": "shop.tasks.greet", "id": "6b8f0f5e-1c2d-4f3a-9b7e-0a1b2c3d4e5f", "retries": 1,
		"eta": "2026-01-31T20:00:00+01:00", "timelimit": [60, null]},
	"properties": {"correlation_id": "6b8f0f5e-1c2d-4f3a-9b7e-0a1b2c3d4e5f", "delivery_mode": 2, "priority": 0,
		"delivery_info": {"exchange": "", "routing_key": "celery"},
		"body_encoding": "base64", "delivery_tag": "f3b0c442-98fc-4c14-9afb-f4c8996fb924"}}`

func ExampleDecode() {
	m, err := protocol.Decode([]byte(published), protocol.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var kwargs struct {
		Locale string `json:"locale"`
	}
	if err := protocol.Unmarshal(m.Kwargs, &kwargs); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Task, "with", string(m.Args), "in", kwargs.Locale)
	fmt.Println("attempt", m.Retries+1, "not before", protocol.FormatTime(m.ETA), "for at most", m.HardTimeLimit)
	// Output:
	// shop.tasks.greet with ["ada@example.com"] in de
	// attempt 2 not before 2026-01-31T19:00:00+00:00 for at most 1m0s
}

func ExampleDecodeError() {
	_, err := protocol.Decode([]byte(`{"body": "secret"}`), protocol.Limits{})
	if refused, ok := errors.AsType[*protocol.DecodeError](err); ok {
		fmt.Println(refused.Reason)
	}
	// Output:
	// no-properties
}

func ExampleMarshal() {
	b, err := protocol.Marshal(map[string]any{"total": 60.0, "to": "Zoë"})
	fmt.Println(string(b), err)
	// Output:
	// {"to": "Zo\u00eb", "total": 60.0} <nil>
}

func ExampleDecoder() {
	d := protocol.Decoder{Accept: []string{"json", "yaml"}}
	if err := d.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	// The body is "[[2026-01-31, !!binary aGk=], {}, {}]" in base64.
	m, err := d.Decode([]byte(`{"body": "W1syMDI2LTAxLTMxLCAhIWJpbmFyeSBhR2s9XSwge30sIHt9XQ==",
		"content-type": "application/x-yaml", "headers": {"task": "shop.tasks.greet", "id": "6b8f0f5e"},
		"properties": {"delivery_info": {"exchange": "", "routing_key": "celery"}, "body_encoding": "base64", "delivery_tag": "f3b0c442"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(m.Args))
	// Output:
	// [{"__type__": "date", "__value__": "2026-01-31"}, {"__type__": "bytes", "__value__": "hi"}]
}

func ExampleDecoder_Validate() {
	d := protocol.Decoder{Accept: []string{"json", "pickle"}}
	fmt.Println(d.Validate())
	// Output:
	// accept "pickle": pickle runs code that the sender chooses and is never read; let producers send json, yaml or msgpack
}
