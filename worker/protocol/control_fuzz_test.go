package protocol_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// FuzzDecodeControl refuses arbitrary broadcasts with a reason, or reads them so that
// they can be written again.
func FuzzDecodeControl(f *testing.F) {
	for _, r := range records(f, "celery-main/control.jsonl") {
		f.Add([]byte(r.Raw))
	}
	f.Add([]byte(`{"properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": ""}}, "body": "{\"method\": \"x\"}"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d protocol.Decoder
		q, err := d.DecodeControl(raw)
		if err != nil {
			if _, ok := errors.AsType[*protocol.DecodeError](err); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		again, err := protocol.EncodeControl(q, "tag", time.Time{})
		if err != nil {
			t.Fatalf("cannot be written again: %v", err)
		}
		// Written again it is a third longer, and its texts may be escaped.
		d.Limits = protocol.Limits{Size: 16*len(again) + 1024}
		p, err := d.DecodeControl(again)
		if err != nil {
			t.Fatalf("cannot be read again: %v", err)
		}
		if !q.Wanted() {
			q.Ticket, q.ReplyTo = "", protocol.ReplyTo{}
		}
		if q.ContentType = p.ContentType; !reflect.DeepEqual(q, p) {
			t.Errorf("%+v became %+v", q, p)
		}
		if _, err := protocol.EncodeReply(q, protocol.ControlReply{Node: "w@h", Value: protocol.Raw("null")}, "t"); err != nil {
			t.Errorf("cannot be answered: %v", err)
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	for _, r := range records(f, "celery-main/events.jsonl") {
		f.Add([]byte(r.Raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d protocol.Decoder
		e, err := d.DecodeEvent(raw)
		if err != nil {
			if _, ok := errors.AsType[*protocol.DecodeError](err); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		if _, err := protocol.AppendEvent(nil, e); err != nil {
			t.Fatalf("cannot be written again: %v", err)
		}
	})
}
