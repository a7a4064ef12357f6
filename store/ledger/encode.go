package ledger

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// version is the version of the encoding. A reader ignores fields that it does not know, so
// that only a change of meaning needs another version.
const version = "1"

// Names of the fields. They are short because a million entries may wait in the broker.
const (
	fieldVersion   = "v"
	fieldMail      = "m"
	fieldTaskID    = "t"
	fieldKind      = "k"
	fieldState     = "s"
	fieldAt        = "at"
	fieldFirstSeen = "fs"
	fieldAttempt   = "n"
	fieldReason    = "r"
	fieldNextAt    = "nx"
	fieldUserID    = "u"
	fieldBooking   = "b"
	fieldHash      = "h"
	fieldMasked    = "a"
	fieldDomain    = "d"
	fieldSealed    = "x"
	fieldStage     = "st"
	fieldCode      = "c"
	fieldEnhanced  = "ec"
	fieldClass     = "cl"
	fieldText      = "w"
	fieldFault     = "f"
	fieldEndpoint  = "ep"
	fieldTLS       = "tls"
	fieldQueueID   = "q"
	fieldMessageID = "mid"
	fieldWorker    = "wk"
	fieldPhases    = "ph"
)

// textFields are the names of the fields that are texts, in the order of the encoding.
var textFields = []string{
	fieldMail, fieldTaskID, fieldKind, fieldReason, fieldBooking, fieldMasked, fieldDomain, fieldStage, fieldEnhanced,
	fieldClass, fieldText, fieldFault, fieldEndpoint, fieldTLS, fieldQueueID, fieldMessageID, fieldWorker,
}

// text returns the text of that name, nil if the field is none of textFields.
func (e *Event) text(name string) *string {
	switch name {
	case fieldMail:
		return &e.Mail
	case fieldTaskID:
		return &e.TaskID
	case fieldKind:
		return &e.Kind
	case fieldReason:
		return &e.Reason
	case fieldBooking:
		return &e.Booking
	case fieldMasked:
		return &e.Recipient.Masked
	case fieldDomain:
		return &e.Recipient.Domain
	case fieldStage:
		return &e.Stage
	case fieldEnhanced:
		return &e.Enhanced
	case fieldClass:
		return &e.Class
	case fieldText:
		return &e.Text
	case fieldFault:
		return &e.Fault
	case fieldEndpoint:
		return &e.Endpoint
	case fieldTLS:
		return &e.TLS
	case fieldQueueID:
		return &e.QueueID
	case fieldMessageID:
		return &e.MessageID
	case fieldWorker:
		return &e.Worker
	}
	return nil
}

// Encode returns e as the names and values of an entry of a stream. The address is sealed;
// with a nil sealer only its domain is kept. Texts are bounded, and Secrets are removed.
func Encode(e Event, sealer *Sealer) []string {
	if e.Address != "" {
		e.Recipient = sealer.Seal(e.Address)
	}
	e = e.tidy()
	fields := make([]string, 0, 50)
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, name, value)
		}
	}
	add(fieldVersion, version)
	for _, name := range textFields {
		add(name, *e.text(name))
	}
	add(fieldState, e.State.String())
	add(fieldAt, encodeTime(e.At))
	if !e.FirstSeen.Equal(e.At) {
		add(fieldFirstSeen, encodeTime(e.FirstSeen))
	}
	add(fieldNextAt, encodeTime(e.NextAt))
	add(fieldAttempt, encodeInt(int64(e.Attempt)))
	add(fieldUserID, encodeInt(e.UserID))
	add(fieldCode, encodeInt(int64(e.Code)))
	add(fieldHash, base64.RawStdEncoding.EncodeToString(e.Recipient.Hash))
	add(fieldSealed, base64.RawStdEncoding.EncodeToString(e.Recipient.Sealed))
	add(fieldPhases, encodePhases(e.Phases))
	return fields
}

// Decode returns the event of an entry. It is strict where a value would lead astray, and
// ignores fields that it does not know. Its errors show no values.
func Decode(fields []string) (Event, error) {
	if len(fields)%2 != 0 {
		return Event{}, fmt.Errorf("entry has %d names and values, an odd number", len(fields))
	}
	var e Event
	var d decoder
	for i := 0; i < len(fields); i += 2 {
		d.field(&e, fields[i], fields[i+1])
	}
	switch {
	case d.version != version:
		return Event{}, fmt.Errorf("entry of another version than %s", version)
	case d.err != nil:
		return Event{}, d.err
	case !e.State.IsKnown():
		return Event{}, errors.New("entry lacks the state")
	case e.Mail == "" || e.TaskID == "" || e.Kind == "":
		return Event{}, errors.New("entry lacks the mail, the task or the kind")
	case e.At.IsZero():
		return Event{}, errors.New("entry lacks the time")
	}
	return e.tidy(), nil
}

func encodeTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

func encodeInt(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// encodePhases returns phases as "dial:1200,data:80", in microseconds.
func encodePhases(phases []Phase) string {
	var b strings.Builder
	for _, p := range phases {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(phaseName(p.Name))
		b.WriteByte(':')
		b.WriteString(strconv.FormatInt(max(p.Took.Microseconds(), 0), 10))
	}
	return b.String()
}

// phaseName returns the name without the separators of the encoding.
func phaseName(name string) string {
	if strings.ContainsAny(name, ",:") {
		name = strings.NewReplacer(",", " ", ":", " ").Replace(name)
	}
	return line(name, maxName)
}

// decoder reads values and keeps the first error.
type decoder struct {
	version string
	err     error
}

// field reads one field into e.
func (d *decoder) field(e *Event, name, value string) {
	switch name {
	case fieldVersion:
		d.version = value
	case fieldState:
		e.State = d.state(name, value)
	case fieldAt:
		e.At = d.time(name, value)
	case fieldFirstSeen:
		e.FirstSeen = d.time(name, value)
	case fieldNextAt:
		e.NextAt = d.time(name, value)
	case fieldAttempt:
		e.Attempt = int(d.count(name, value, math.MaxInt16))
	case fieldUserID:
		e.UserID = d.int(name, value)
	case fieldCode:
		e.Code = int(d.count(name, value, maxCode))
	case fieldHash:
		e.Recipient.Hash = d.bytes(name, value, hashSize)
	case fieldSealed:
		e.Recipient.Sealed = d.bytes(name, value, 1024)
	case fieldPhases:
		e.Phases = d.phases(name, value)
	default:
		if text := e.text(name); text != nil {
			*text = value
		}
	}
}

func (d *decoder) fail(name string) {
	if d.err == nil {
		d.err = fmt.Errorf("entry has an unreadable field %q", name)
	}
}

func (d *decoder) state(name, value string) State {
	s, err := ParseState(value)
	if err != nil {
		d.fail(name)
	}
	return s
}

func (d *decoder) int(name, value string) int64 {
	if value == "" {
		return 0
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		d.fail(name)
	}
	return n
}

// count reads a number from 0 to most.
func (d *decoder) count(name, value string, most int64) int64 {
	n := d.int(name, value)
	if n < 0 || n > most {
		d.fail(name)
	}
	return n
}

// The earliest and latest time of an event, in microseconds: the years 2000 and 2200.
const (
	earliestTime = 946684800e6
	latestTime   = 7258118400e6
)

func (d *decoder) time(name, value string) time.Time {
	n := d.count(name, value, latestTime)
	if n == 0 {
		return time.Time{}
	}
	if n < earliestTime {
		d.fail(name)
	}
	return time.UnixMicro(n).UTC()
}

func (d *decoder) bytes(name, value string, most int) []byte {
	if value == "" {
		return nil
	}
	b, err := base64.RawStdEncoding.DecodeString(value)
	if err != nil || len(b) > most {
		d.fail(name)
		return nil
	}
	return b
}

func (d *decoder) phases(name, value string) []Phase {
	if value == "" {
		return nil
	}
	var phases []Phase
	for part := range strings.SplitSeq(value, ",") {
		phase, micros, ok := strings.Cut(part, ":")
		n, err := strconv.ParseInt(micros, 10, 64)
		if !ok || err != nil || n < 0 || n > math.MaxInt64/1000 || !utf8.ValidString(phase) || len(phases) == maxPhases {
			d.fail(name)
			return nil
		}
		phases = append(phases, Phase{Name: phaseName(phase), Took: time.Duration(n) * time.Microsecond})
	}
	return phases
}
