package tasks

import (
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol"
)

// Sample finds the contradictions in an entry of the table.
func TestSampleFindsFaults(t *testing.T) {
	type args struct {
		UserID protocol.Raw `celery:"user_id"`
		Data   protocol.Raw `celery:"data"`
	}
	for want, field := range map[string]Field{
		"": {Key: "event_name", Sample: "Jazz"},
		"key event_name is read and has no field":           {Key: "event", Unused: true},
		"field event_name: read is true and Unused is true": {Key: "event_name", Unused: true},
		"field event: read is false and Unused is false":    {Key: "event", Sample: "Jazz"},
	} {
		m := taskOf[args](MailTask{Name: "send_it", Fields: []Field{field}, read: func(d *dictionary) delivery {
			return delivery{data: WaitlistCancellation{EventName: d.name("event_name", "Event")}}
		}})
		_, err := m.Sample()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", field, err, want)
		}
	}
	m := taskOf[args](MailTask{Name: "send_it", Fields: []Field{{Key: "date", Sample: "soon"}}, read: func(d *dictionary) delivery {
		return delivery{data: WaitlistCancellation{Date: d.date("date", "")}}
	}})
	if _, err := m.Sample(); err == nil || !strings.Contains(err.Error(), "send_it: the sample of date cannot be read") {
		t.Errorf("a sample that is no date: %v", err)
	}
}
