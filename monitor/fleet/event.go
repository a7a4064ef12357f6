package fleet

import (
	"bytes"
	"errors"
	"math"
	"strconv"

	"github.com/evently/workers/worker/protocol"
)

// Bounds of the texts of an event. Celery itself cuts the reprs of values at 1024
// characters.
const (
	maxID    = 255 // an event with a longer id, or name of a node, is refused
	maxName  = 255
	maxValue = 4 << 10
	maxTrace = 8 << 10
)

// event is an event as it was read. Its texts are spans of the message: they are valid until
// the next one.
type event struct {
	host, id          []byte
	timestamp         float64
	clock             int64
	pid               int64
	retries           int64
	runtime           float64
	freq              float64
	active, processed int64
	load              []float64

	name, root, parent                         []byte
	queue, exchange, routingKey                []byte
	args, kwargs, result, exception, traceback []byte
	eta, expires                               []byte
	ident, version, system                     []byte

	here, set Fields // the fields that the event has, and the ones of them that are not null
	told      Told

	kind *kind
}

// kind is a type of event.
type kind struct {
	kind    string // "task-received"
	group   string
	subject string
	state   string // of the task
	column  int    // in Counts; -1: none
}

// kinds are the events that Celery defines. Custom ones are read into a new kind.
var kinds = func() map[string]*kind {
	all := map[string]*kind{}
	for i, s := range []struct{ subject, state string }{
		{"sent", Pending}, {"received", Received}, {"started", Started}, {"succeeded", Success},
		{"failed", Failure}, {"retried", Retry}, {"rejected", Rejected}, {"revoked", Revoked},
	} {
		all["task-"+s.subject] = &kind{"task-" + s.subject, "task", s.subject, s.state, i}
	}
	for _, s := range []string{"online", "heartbeat", "offline"} {
		all["worker-"+s] = &kind{"worker-" + s, "worker", s, "", -1}
	}
	return all
}()

var (
	errNoType  = errors.New("event without a type")
	errNoHost  = errors.New("event without the name of its sender, or with one that is too long")
	errNoID    = errors.New("event of a task without its id, or with one that is too long")
	errNoTime  = errors.New("event without a time")
	errUnknown = errors.New("event of no worker or task")
)

// read reads the body of an event.
func (e *event) read(body protocol.Raw) error {
	*e = event{load: e.load[:0]}
	var kind []byte
	err := body.EachMember(func(name []byte, v protocol.Raw) bool {
		if string(name) == "type" {
			kind, _ = v.Text()
		} else if !e.envelope(name, v) && !e.ofWorker(name, v) {
			e.ofTask(name, v)
		}
		return true
	})
	if err != nil {
		return err
	}
	return e.check(kind)
}

// check refuses an event that Celery's State does not take.
func (e *event) check(name []byte) error {
	if len(name) == 0 || len(name) > maxName {
		return errNoType
	}
	if e.kind = kinds[string(name)]; e.kind == nil {
		group, subject, _ := bytes.Cut(name, []byte("-"))
		e.kind = &kind{string(name), string(group), string(subject), string(bytes.ToUpper(subject)), -1}
	}
	switch {
	case len(e.host) == 0 || len(e.host) > maxID:
		return errNoHost
	case e.timestamp == 0:
		return errNoTime
	case e.kind.group == "worker":
		return nil
	case e.kind.group != "task":
		return errUnknown
	case len(e.id) == 0 || len(e.id) > maxID:
		return errNoID
	}
	return nil
}

// envelope reads a member that all events have.
func (e *event) envelope(name []byte, v protocol.Raw) bool {
	switch string(name) {
	case "hostname":
		e.host, _ = v.Text()
	case "timestamp":
		e.timestamp, _ = number(v)
		if e.timestamp < 0 || e.timestamp > 1e11 {
			e.timestamp = 0
		}
	case "clock":
		e.clock, _ = whole(v)
	case "pid":
		e.pid, e.told.PID = whole(v)
	case "utcoffset":
	default:
		return false
	}
	return true
}

// ofWorker reads a member of an event of a worker.
func (e *event) ofWorker(name []byte, v protocol.Raw) bool {
	switch string(name) {
	case "freq":
		e.freq, _ = number(v)
	case "active":
		e.active, e.told.Active = whole(v)
	case "processed":
		e.processed, e.told.Processed = whole(v)
	case "loadavg":
		e.told.Load = v.EachElement(func(v protocol.Raw) bool {
			f, ok := number(v)
			if ok {
				e.load = append(e.load, f)
			}
			return ok && len(e.load) < 3
		}) == nil
	case "sw_ident":
		e.ident, e.told.Ident = short(v, maxName)
	case "sw_ver":
		e.version, e.told.Version = short(v, maxName)
	case "sw_sys":
		e.system, e.told.System = short(v, maxName)
	default:
		return false
	}
	return true
}

// ofTask reads a member of an event of a task.
func (e *event) ofTask(name []byte, v protocol.Raw) {
	text := func(dst *[]byte, has Fields, most int) {
		e.here |= has
		var ok bool
		if *dst, ok = short(v, most); ok {
			e.set |= has
		}
	}
	switch string(name) {
	case "uuid":
		e.id, _ = v.Text()
	case "name":
		text(&e.name, HasName, maxName)
	case "root_id":
		text(&e.root, HasRoot, maxID)
	case "parent_id":
		text(&e.parent, HasParent, maxID)
	case "queue":
		text(&e.queue, HasQueue, maxName)
	case "exchange":
		text(&e.exchange, HasExchange, maxName)
	case "routing_key":
		text(&e.routingKey, HasRoutingKey, maxName)
	case "args":
		text(&e.args, HasArgs, maxValue)
	case "kwargs":
		text(&e.kwargs, HasKwargs, maxValue)
	case "result":
		text(&e.result, HasResult, maxValue)
	case "exception":
		text(&e.exception, HasException, maxValue)
	case "traceback":
		text(&e.traceback, HasTraceback, len(v))
		e.traceback = end(e.traceback, maxTrace)
	case "eta":
		text(&e.eta, HasETA, maxName)
	case "expires":
		text(&e.expires, HasExpires, maxName)
	case "retries":
		e.here |= HasRetries
		var ok bool
		if e.retries, ok = whole(v); ok {
			e.set |= HasRetries
		}
	case "runtime":
		e.here |= HasRuntime
		var ok bool
		if e.runtime, ok = number(v); ok {
			e.set |= HasRuntime
		}
	}
}

// short returns a text, cut to so many bytes. Another value than a text is shown as JSON,
// because old programs send numbers or lists where a text is due.
func short(v protocol.Raw, most int) (text []byte, ok bool) {
	if text, ok = v.Text(); !ok {
		if v.IsNull() {
			return nil, false
		}
		text = v
	}
	return begin(text, most), true
}

// begin returns the first bytes of a text.
func begin(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	cut := most - len("...")
	for cut > 0 && text[cut]&0xc0 == 0x80 { // within a character
		cut--
	}
	return append(text[:cut:cut], "..."...)
}

// end returns the last lines of a text, because a traceback ends with what went wrong. A text
// of one line is cut at its end.
func end(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	tail := text[len(text)-most:]
	if i := bytes.IndexByte(tail, '\n'); i >= 0 && i < len(tail)-1 {
		return append([]byte("...\n"), tail[i+1:]...)
	}
	return begin(text, most)
}

// number reads a finite number.
func number(v protocol.Raw) (float64, bool) {
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

// whole reads a number without a fraction, such as 3 or 3.0.
func whole(v protocol.Raw) (int64, bool) {
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return n, true
	}
	f, ok := number(v)
	if !ok || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}
