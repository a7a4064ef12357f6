package canvas

import (
	"errors"
	"fmt"

	"github.com/evently/workers/worker/protocol"
)

// SignatureError names the part of a signature that Celery does not accept. Its text
// never holds a value.
type SignatureError struct {
	Path   string // such as "kwargs.tasks[2].options.link"; "" is the whole
	Detail string
}

func (e *SignatureError) Error() string {
	if e.Path == "" {
		return "signature: " + e.Detail
	}
	return "signature: " + e.Path + ": " + e.Detail
}

// OptionError names an option of a signature that cannot be used for a message.
type OptionError struct {
	Option string
	Detail string
}

func (e *OptionError) Error() string { return "option " + e.Option + ": " + e.Detail }

// LimitError reports a signature that exceeds [Limits].
type LimitError struct {
	What  string // "depth", "messages", "work" or "bytes"
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("signature exceeds the limit of %s, %d", e.What, e.Limit)
}

// TaskError is the exception that Python raises in a task that asks for an impossible
// workflow. A worker stores Exception as the result of that task.
type TaskError struct {
	Exception *protocol.Exception
}

func (e *TaskError) Error() string {
	if len(e.Exception.Args) == 0 {
		return e.Exception.Type
	}
	return fmt.Sprintf("%s: %v", e.Exception.Type, e.Exception.Args[0])
}

func improperlyConfigured(text string) *TaskError {
	return &TaskError{&protocol.Exception{Type: "ImproperlyConfigured", Module: "celery.exceptions", Args: []any{text}}}
}

func builtinError(name, text string) *TaskError {
	return &TaskError{&protocol.Exception{Type: name, Module: "builtins", Args: []any{text}}}
}

var errNoIDs = errors.New("canvas: Context.NewID is required")

// indexError returns the exception that Python raises for an empty group or chain where a
// task is needed.
func indexError() *TaskError { return builtinError("IndexError", "list index out of range") }

// bail carries an error from the depth of a recursion to the exported function
// that began it; it never leaves the package.
type bail struct{ err error }

func abort(err error) { panic(bail{err}) }

// recovered turns an abort into an error. Every exported function that may abort defers
// it.
func recovered(err *error) {
	switch r := recover().(type) {
	case nil:
	case bail:
		*err = r.err
	default:
		panic(r)
	}
}
