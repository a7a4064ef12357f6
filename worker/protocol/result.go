package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/evently/workers/worker/protocol/internal/compression"
)

// States of a task, as celery.states names them. An application may store
// others, such as PROGRESS.
const (
	StateStarted = "STARTED"
	StateRetry   = "RETRY"
	StateSuccess = "SUCCESS"
	StateFailure = "FAILURE"
	StateRevoked = "REVOKED"
)

// Result is one value of the result backend (celery-task-meta-<id>).
type Result struct {
	TaskID string
	Status string
	// Result is the value that the task returned, or the value that belongs to another
	// state. [Marshal] must be able to write it. DecodeResult sets a [Raw].
	Result any
	// Exception replaces Result if it is set.
	Exception *Exception
	Traceback *string
	// Children is the array of the tasks that this one has published. If absent it is
	// written as [], and with RETRY as the task itself, which it has published again.
	Children Raw
	// DateDone is set for final states; zero: null.
	DateDone time.Time
	GroupID  string
	ParentID string
	// Extended holds the fields that Celery adds with the setting result_extended.
	Extended *Extended
	// Fingerprint distinguishes the tasks of one id, see worker.Task.Fingerprint. Celery
	// has no such field and ignores it; "" is not written.
	Fingerprint string
}

// Extended holds the fields of the setting result_extended.
type Extended struct {
	Name           string
	Args, Kwargs   Raw
	Worker         string // node name; "" is null: no worker has run it
	Retries        int
	Queue          string   // routing key of the delivery; "" is null
	StampedHeaders []string // names of the stamps
	Stamps         Raw      // object; each member is written as a separate field
}

// Exception is a Python exception. Celery's client calls Type with Args if Module is
// already loaded and has it. Otherwise it creates a class of that name.
type Exception struct {
	Type   string
	Module string
	Args   []any
}

// EncodeResult writes r with the fields and in the order of Celery 5.6; the
// same value gives the same bytes, which start with {"status": ". An error
// means that Result cannot be written as JSON.
func EncodeResult(r *Result) ([]byte, error) {
	if r.TaskID == "" || r.Status == "" {
		return nil, errors.New("encode result: task id and status are required")
	}
	w := writer{buf: make([]byte, 0, 256)}
	w.text(`{"status": `)
	w.str(r.Status)
	w.text(`, "result": `)
	if r.Exception != nil {
		w.exception(r.Exception)
	} else {
		w.value(r.Result)
	}
	w.text(`, "traceback": `)
	if r.Traceback == nil {
		w.text("null")
	} else {
		w.str(*r.Traceback)
	}
	w.text(`, "children": `)
	switch {
	case len(r.Children) > 0:
		w.raw(r.Children)
	case r.Status == StateRetry:
		w.text("[[[")
		w.str(r.TaskID)
		w.text(", null], null]]")
	default:
		w.text("[]")
	}
	w.text(`, "date_done": `)
	w.time(r.DateDone)
	if r.GroupID != "" {
		w.text(`, "group_id": `)
		w.str(r.GroupID)
	}
	if r.ParentID != "" {
		w.text(`, "parent_id": `)
		w.str(r.ParentID)
	}
	if r.Extended != nil {
		w.extended(r.Extended)
	}
	if r.Fingerprint != "" {
		w.text(`, "_fingerprint": `) // scripts look for it right before the id
		w.str(r.Fingerprint)
	}
	w.text(`, "task_id": `)
	w.str(r.TaskID)
	w.text("}")
	if w.err != nil {
		return nil, fmt.Errorf("encode result: %w", w.err)
	}
	return w.buf, nil
}

func (w *writer) value(v any) {
	b, err := appendValue(w.buf, v)
	if err == nil {
		w.buf = b
	} else if w.err == nil {
		w.err = err
	}
}

func (w *writer) extended(x *Extended) {
	w.text(`, "name": `)
	w.str(x.Name)
	w.text(`, "args": `)
	w.raw(x.Args)
	w.text(`, "kwargs": `)
	w.raw(x.Kwargs)
	w.text(`, "worker": `)
	w.strOrNull(x.Worker)
	w.text(`, "retries": `)
	w.buf = strconv.AppendInt(w.buf, int64(x.Retries), 10)
	w.text(`, "queue": `)
	w.strOrNull(x.Queue)
	if x.StampedHeaders == nil {
		return
	}
	w.text(`, "stamped_headers": `)
	w.names(x.StampedHeaders)
	if x.Stamps.IsNull() {
		return
	}
	stamps, err := x.Stamps.Fields()
	if err != nil && w.err == nil {
		w.err = err
	}
	for _, s := range stamps {
		w.text(", ")
		w.str(s.Name)
		w.text(": ")
		w.raw(s.Value)
	}
}

// exception never fails. It replaces an argument that cannot be written by its text, as
// Celery does by its repr.
func (w *writer) exception(e *Exception) {
	w.text(`{"exc_type": `)
	w.str(e.Type)
	w.text(`, "exc_message": [`)
	for i, arg := range e.Args {
		if i > 0 {
			w.text(", ")
		}
		if cause, ok := arg.(error); ok {
			arg = cause.Error() // Python cannot use the fields of a Go error
		}
		b, err := Marshal(arg)
		if err != nil {
			b = appendQuoted(nil, fmt.Sprintf("%v", arg))
		}
		w.buf = append(w.buf, b...)
	}
	w.text(`], "exc_module": `)
	w.str(e.Module)
	w.text("}")
}

// DecodeResult reads a value of the result backend, written as JSON by any version of
// Celery. Result is a [Raw] that is a copy; for an exception, Exception is set too. The
// only limit is a depth of 1000. For compressed results and other serializers see
// [Decoder.DecodeResult]. The error is a *[DecodeError].
func DecodeResult(b []byte) (*Result, error) {
	fields, err := Raw(bytes.Clone(b)).Fields()
	if err != nil {
		return nil, err
	}
	r := &Result{}
	var x Extended
	for _, f := range fields {
		switch f.Name {
		case "status":
			r.Status = text(f.Value)
		case "task_id":
			r.TaskID = text(f.Value)
		case "result":
			r.Result = f.Value
		case "traceback":
			if isText(f.Value) {
				t := unquote(f.Value)
				r.Traceback = &t
			}
		case "children":
			r.Children = f.Value
		case "date_done":
			var ok bool
			if r.DateDone, ok = when(f.Value); !ok {
				return nil, refuse(ReasonBadBody, "date_done: %w", errTime)
			}
		case "group_id":
			r.GroupID = text(f.Value)
		case "parent_id":
			r.ParentID = text(f.Value)
		case "_fingerprint":
			r.Fingerprint = text(f.Value)
		case "worker": // only present if the result is extended
			r.Extended = &x
			x.Worker = text(f.Value)
		default:
			x.set(f)
		}
	}
	if r.Status == "" {
		return nil, refuse(ReasonBadBody, "result without status")
	}
	x.Stamps = stampsOf(fields, x.StampedHeaders)
	switch r.Status {
	case StateFailure, StateRetry, StateRevoked:
		r.Exception = exceptionOf(r.Result)
	}
	return r, nil
}

// set sets a field of the setting result_extended and ignores any other.
func (x *Extended) set(f Field) {
	switch f.Name {
	case "name":
		x.Name = text(f.Value)
	case "args":
		x.Args = f.Value
	case "kwargs":
		x.Kwargs = f.Value
	case "retries":
		x.Retries = wholeNumber(f.Value)
	case "queue":
		x.Queue = text(f.Value)
	case "stamped_headers":
		x.StampedHeaders = texts(f.Value)
	}
}

// stampsOf gathers the fields of the named stamps into an object.
func stampsOf(fields []Field, names []string) Raw {
	var stamps Raw
	for _, f := range fields {
		if !slices.Contains(names, f.Name) {
			continue
		}
		if stamps == nil {
			stamps = append(stamps, '{')
		} else {
			stamps = append(stamps, ", "...)
		}
		stamps = appendQuoted(stamps, f.Name)
		stamps = append(append(stamps, ": "...), f.Value...)
	}
	if stamps != nil {
		stamps = append(stamps, '}')
	}
	return stamps
}

func exceptionOf(result any) *Exception {
	raw, _ := result.(Raw)
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	fields, err := raw.Fields()
	if err != nil {
		return nil
	}
	var e Exception
	for _, f := range fields {
		switch f.Name {
		case "exc_type":
			e.Type = text(f.Value)
		case "exc_module":
			e.Module = text(f.Value)
		case "exc_message":
			var args any
			if err := Unmarshal(f.Value, &args); err != nil {
				return nil
			}
			list, ok := args.([]any)
			if !ok { // Celery 3 wrote the text alone
				list = []any{args}
			}
			e.Args = list
		}
	}
	if e.Type == "" {
		return nil
	}
	return &e
}

// resultMark starts a compressed result. The content type of the method, a zero byte and
// the packed result follow it. Celery 5.7 and later (celery.backends.base) write and read
// it.
const resultMark = "\x00celery-compressed\x00"

// EncodeResultAs writes r like [EncodeResult], in another serializer (the setting
// result_serializer of Celery), compressed, or both. A result does not name its
// serializer, so readers must have the same setting. Only Celery 5.7 and later read
// compressed results.
func EncodeResultAs(r *Result, o EncodeOptions) ([]byte, error) {
	raw, err := EncodeResult(r)
	if err != nil {
		return nil, err
	}
	p, err := o.pack(raw)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	if p.compression == "" {
		return p.body, nil
	}
	return bytes.Join([][]byte{[]byte(resultMark), []byte(p.compression), {0}, p.body}, nil), nil
}

// DecodeResult reads a value of the result backend that was written in the given
// serializer, which must be an accepted one. A value compressed by any method is
// unpacked. Unlike in [DecodeResult], d.Limits hold. The error is a *[DecodeError].
func (d *Decoder) DecodeResult(b []byte, serializer string) (*Result, error) {
	s, err := d.accepts(serializer)
	if err != nil {
		return nil, err
	}
	lim := d.Limits.withDefaults()
	if packed, ok := bytes.CutPrefix(b, []byte(resultMark)); ok {
		name, packed, _ := bytes.Cut(packed, []byte{0})
		method, known := compression.ByName(string(name))
		if !known {
			return nil, refuse(ReasonCompression, "unknown method")
		}
		if b, err = decompressBy(method, packed, lim); err != nil {
			return nil, err
		}
	}
	if s.unpack != nil {
		if b, err = s.unpack(b, lim); err != nil {
			return nil, err
		}
	}
	text, err := newScanner(b, lim)
	if err != nil {
		return nil, err
	}
	if _, _, err := text.value(); err != nil {
		return nil, err
	}
	return DecodeResult(b)
}
