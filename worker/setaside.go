package worker

import (
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// SetAsideHeader is the header of a message that came back from the dead
// letters: when it was set aside for the first time, as ISO 8601 text. The
// message itself says nothing of its age, and by then it may be weeks old.
const SetAsideHeader = broker.SetAsideHeader

// SetAside returns when the message was set aside in the dead letters, which it
// has come back from. Zero: it never was.
func (t *Task) SetAside() time.Time { return t.HeaderTime(SetAsideHeader) }

// HeaderTime returns the moment in a header of the message, see
// [RetryError.Headers] and [TimeHeader]. It is zero when there is no such
// header, or none that is a time: anybody can write headers.
func (t *Task) HeaderTime(name string) time.Time {
	if t.Message == nil {
		return time.Time{}
	}
	var text string
	if protocol.Unmarshal(t.Message.Header(name), &text) != nil {
		return time.Time{}
	}
	at, err := protocol.ParseTime(text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// TimeHeader makes a header of a moment, to the microsecond.
func TimeHeader(name string, at time.Time) protocol.Header {
	return protocol.TimeHeader(name, at)
}
