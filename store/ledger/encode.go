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
	fieldEndpoint  = "ep"
	fieldTLS       = "tls"
	fieldQueueID   = "q"
	fieldMessageID = "mid"
	fieldWorker    = "wk"
	fieldPhases    = "ph"
)

// texts returns the fields that are texts, in the order of the encoding.
func (e *Event) texts() []struct {
	name string
	text *string
} {
	return []struct {
		name string
		text *string
	}{
		{fieldMail, &e.Mail}, {fieldTaskID, &e.TaskID}, {fieldKind, &e.Kind}, {fieldReason, &e.Reason},
		{fieldBooking, &e.Booking}, {fieldMasked, &e.Recipient.Masked}, {fieldDomain, &e.Recipient.Domain},
		{fieldStage, &e.Stage}, {fieldEnhanced, &e.Enhanced}, {fieldClass, &e.Class}, {fieldText, &e.Text},
		{fieldEndpoint, &e.Endpoint}, {fieldTLS, &e.TLS}, {fieldQueueID, &e.QueueID},
		{fieldMessageID, &e.MessageID}, {fieldWorker, &e.Worker},
	}
}

// Encode returns e as the names and values of an entry of a stream. The address is sealed;
// with a nil sealer only its domain is kept. Texts are bounded, and Secrets are removed.
func Encode(e Event, sealer *Sealer) []string {
	if e.Address != "" {
		e.Recipient = sealer.Seal(e.Address)
	}
	e = e.tidy()
	fields := make([]string, 0, 48)
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, name, value)
		}
	}
	add(fieldVersion, version)
	for _, t := range e.texts() {
		add(t.name, *t.text)
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
	values := make(map[string]string, len(fields)/2)
	for i := 0; i < len(fields); i += 2 {
		values[fields[i]] = fields[i+1]
	}
	if values[fieldVersion] != version {
		return Event{}, fmt.Errorf("entry of another version than %s", version)
	}
	var e Event
	for _, t := range e.texts() {
		*t.text = values[t.name]
	}
	d := decoder{values: values}
	e.State = d.state(fieldState)
	e.At = d.time(fieldAt)
	e.FirstSeen = d.time(fieldFirstSeen)
	e.NextAt = d.time(fieldNextAt)
	e.Attempt = int(d.count(fieldAttempt, math.MaxInt16))
	e.UserID = d.int(fieldUserID)
	e.Code = int(d.count(fieldCode, maxCode))
	e.Recipient.Hash = d.bytes(fieldHash, hashSize)
	e.Recipient.Sealed = d.bytes(fieldSealed, 1024)
	e.Phases = d.phases(fieldPhases)
	switch {
	case d.err != nil:
		return Event{}, d.err
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
	return line(strings.NewReplacer(",", " ", ":", " ").Replace(name), maxName)
}

// decoder reads values and keeps the first error.
type decoder struct {
	values map[string]string
	err    error
}

func (d *decoder) fail(name string) {
	if d.err == nil {
		d.err = fmt.Errorf("entry has an unreadable field %q", name)
	}
}

func (d *decoder) state(name string) State {
	s, err := ParseState(d.values[name])
	if err != nil {
		d.fail(name)
	}
	return s
}

func (d *decoder) int(name string) int64 {
	text := d.values[name]
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		d.fail(name)
	}
	return n
}

// count reads a number from 0 to most.
func (d *decoder) count(name string, most int64) int64 {
	n := d.int(name)
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

func (d *decoder) time(name string) time.Time {
	n := d.count(name, latestTime)
	if n == 0 {
		return time.Time{}
	}
	if n < earliestTime {
		d.fail(name)
	}
	return time.UnixMicro(n).UTC()
}

func (d *decoder) bytes(name string, most int) []byte {
	text := d.values[name]
	if text == "" {
		return nil
	}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(b) > most {
		d.fail(name)
		return nil
	}
	return b
}

func (d *decoder) phases(name string) []Phase {
	text := d.values[name]
	if text == "" {
		return nil
	}
	var phases []Phase
	for part := range strings.SplitSeq(text, ",") {
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
