package protocol

import (
	"fmt"
	"time"
)

// Message is one task message. The zero value of a field stands for a value
// that is absent or null.
//
// The names are those of Celery's message protocol; see "Message Protocol" in
// the Celery manual.
type Message struct {
	// Protocol is 1 or 2. Protocol 1 has everything in the body. Celery accepts a mixture
	// of both, in which headers take precedence.
	Protocol int

	ID       string // task id: any text of 1 to 65,536 bytes, as the producer chose it
	Task     string // task name: any text of 1 to 65,536 bytes
	Shadow   string // name to show instead of Task
	RootID   string // first task of the tree
	ParentID string // task that published this one
	Group    string // id of the group that the task is a member of
	// GroupIndex is the position in the group.
	GroupIndex *int
	Lang       string // language of the producer, "py"
	Origin     string // publisher, such as "gen123@host"
	Retries    int    // attempts made before; never negative

	ETA     time.Time // not before; zero: at once
	Expires time.Time // not after; zero: never

	HardTimeLimit time.Duration // 0: the task's own
	SoftTimeLimit time.Duration // 0: the task's own

	// ArgsRepr and KwargsRepr are the arguments as the producer shows them.
	// They may hold secrets.
	ArgsRepr, KwargsRepr string

	IgnoreResult        *bool // nil: the task's own
	ReplacedTaskNesting int
	StampedHeaders      []string // names of the stamps
	Stamps              Raw      // object: name of the stamp to its value

	Args   Raw // array of the positional arguments, never nil
	Kwargs Raw // object of the keyword arguments, never nil

	Callbacks Raw // array of signatures (link)
	Errbacks  Raw // array of signatures (link_error)
	Chain     Raw // array of signatures that remain; the last one runs next
	Chord     Raw // signature of the body of the chord

	CorrelationID string
	ReplyTo       string
	DeliveryTag   string // unique per publishing, not per delivery
	Exchange      string
	RoutingKey    string
	Priority      int    // as sent; Celery limits it to 0..9 when it chooses the list
	Expiration    string // milliseconds from publishing, as text; Redis ignores it
	Redelivered   bool   // an earlier delivery was not acknowledged

	ContentType     string
	ContentEncoding string
	Compression     string // as named by the producer; the body here is unpacked

	// Headers are the headers that an application has added, in their order. The other
	// fields hold the headers of Celery and kombu.
	Headers []Header
	// Properties are the properties that neither Celery nor kombu defines, such as
	// app_id. Unknown options of apply_async end here.
	Properties []Field
}

// Size returns the number of bytes of the arguments and signatures, which are nearly all
// of a large message.
func (m *Message) Size() int {
	return len(m.Args) + len(m.Kwargs) + len(m.Callbacks) + len(m.Errbacks) + len(m.Chain) + len(m.Chord)
}

// Header is one header of the envelope.
type Header struct {
	Name  string
	Value Raw
}

// TimeHeader returns a header that holds a time, to the microsecond.
func TimeHeader(name string, at time.Time) Header {
	return Header{Name: name, Value: Raw(`"` + FormatTime(at) + `"`)}
}

// Header returns the value of a header that an application has added, nil if it is
// absent. The last of equal names counts, as in Python.
func (m *Message) Header(name string) Raw {
	for i := len(m.Headers) - 1; i >= 0; i-- {
		if m.Headers[i].Name == name {
			return m.Headers[i].Value
		}
	}
	return nil
}

// SetHeader sets a header of the application and replaces one of the same name. Headers
// that Celery or kombu defines are other fields and not written from here. The slice of
// headers is new, so that copies of m do not change.
func (m *Message) SetHeader(name string, value Raw) {
	headers := make([]Header, 0, len(m.Headers)+1)
	for _, h := range m.Headers {
		if h.Name != name {
			headers = append(headers, h)
		}
	}
	m.Headers = append(headers, Header{Name: name, Value: value})
}

// celeryHeader reports whether Celery (as_task_v2) or kombu (compression, redelivered)
// defines the header.
func celeryHeader(name string) bool { return new(fields).slot([]byte(name)) != nil }

// withHeaders returns the headers of a message with those of add, which replace headers
// of the same names. Headers that Celery or kombu defines are refused, because they are
// fields of [Message].
func withHeaders(headers, add []Header) ([]Header, error) {
	if len(add) == 0 {
		return headers, nil
	}
	named := make(map[string]bool, len(add))
	for _, h := range add {
		if h.Name == "" || celeryHeader(h.Name) {
			return nil, fmt.Errorf("header %q: an application must not set it", h.Name)
		}
		named[h.Name] = true
	}
	merged := make([]Header, 0, len(headers)+len(add))
	for _, h := range headers {
		if !named[h.Name] {
			merged = append(merged, h)
		}
	}
	return append(merged, add...), nil
}
