package canvas

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/evently/workers/worker/protocol"
)

// Frame is one call in a traceback.
type Frame struct {
	File     string
	Line     int
	Function string
	// Text is shown instead of the source of the line; "" shows none.
	Text string
}

// Traceback returns the traceback of an exception in Python's form, which tools such as
// tblib and Flower read. The outermost frame comes first and the exception last. Without
// frames it names the place as Go code.
func Traceback(e *protocol.Exception, frames ...Frame) string {
	if len(frames) == 0 {
		frames = []Frame{GoFrame("task", "")}
	}
	var b strings.Builder
	b.WriteString("Traceback (most recent call last):\n")
	for _, f := range frames {
		b.WriteString("  File " + `"` + f.File + `", line ` + strconv.Itoa(f.Line) + ", in " + f.Function + "\n")
		for line := range strings.Lines(f.Text) {
			b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
		}
	}
	if e.Module != "" && e.Module != "builtins" && e.Module != "__main__" {
		b.WriteString(e.Module + ".")
	}
	b.WriteString(e.Type)
	if text := ExceptionText(e); text != "" {
		b.WriteString(": " + text)
	}
	b.WriteByte('\n')
	return b.String()
}

// GoFrame returns a frame for a place in Go code without a stack, because a returned
// error has none.
func GoFrame(function, text string) Frame {
	return Frame{File: "<go>", Line: 1, Function: function, Text: text}
}

// ExceptionText returns an exception as Python's str does.
func ExceptionText(e *protocol.Exception) string {
	switch {
	case e.Module == "billiard.exceptions" && (e.Type == "SoftTimeLimitExceeded" || e.Type == "TimeLimitExceeded"):
		return e.Type + exceptionArgs(e, true)
	case len(e.Args) == 0:
		return ""
	case len(e.Args) > 1:
		return exceptionArgs(e, true)
	case e.Type == "KeyError" || e.Type == "NotRegistered":
		return exceptionArg(e.Args[0])
	}
	raw, err := ExceptionArg(e.Args[0])
	var text string
	if err == nil && len(raw) > 0 && raw[0] == '"' && protocol.Unmarshal(raw, &text) == nil {
		return text
	}
	return exceptionArg(e.Args[0])
}

// exceptionArgs returns the arguments as Python shows them in a call, or as a tuple,
// which has a comma after a lone element.
func exceptionArgs(e *protocol.Exception, tuple bool) string {
	args := make([]string, len(e.Args))
	for i, a := range e.Args {
		args[i] = exceptionArg(a)
	}
	if tuple && len(args) == 1 {
		return "(" + args[0] + ",)"
	}
	return "(" + strings.Join(args, ", ") + ")"
}

// exceptionArg returns an argument as Python shows it.
func exceptionArg(a any) string {
	raw, err := ExceptionArg(a)
	if err != nil {
		raw = quoteSafe(textOf(a))
	}
	return Repr(raw)
}

// exceptionOf reads an exception as it is stored.
func exceptionOf(raw protocol.Raw) *protocol.Exception {
	if raw.IsNull() {
		return nil
	}
	fields, err := raw.Fields()
	if err != nil {
		return nil
	}
	e := &protocol.Exception{}
	for _, f := range fields {
		switch f.Name {
		case "exc_type":
			if protocol.Unmarshal(f.Value, &e.Type) != nil {
				return nil
			}
		case "exc_module":
			if !f.Value.IsNull() && protocol.Unmarshal(f.Value, &e.Module) != nil {
				return nil
			}
		case "exc_message":
			args, err := f.Value.Elements()
			if err != nil {
				args = []protocol.Raw{f.Value}
			}
			for _, a := range args {
				e.Args = append(e.Args, a)
			}
		}
	}
	return e
}

// ExceptionArg returns an argument of an exception as JSON. An argument that is an error
// is written as its text. The error reports an argument that has no form in JSON.
func ExceptionArg(a any) (protocol.Raw, error) {
	switch a := a.(type) {
	case protocol.Raw:
		return a, nil
	case error:
		return protocol.Marshal(a.Error())
	}
	return protocol.Marshal(a)
}

// ReprException returns an exception as Python shows it: ValueError('no').
func ReprException(e *protocol.Exception) string {
	if e == nil {
		return "None"
	}
	name := e.Type[strings.LastIndexByte(e.Type, '.')+1:]
	if e.Module == "celery.exceptions" {
		switch { // their own __repr__
		case name == "NotRegistered" && len(e.Args) == 1:
			return "Task of kind " + exceptionArg(e.Args[0]) + " never registered, please make sure it's imported."
		case name == "Reject" && len(e.Args) == 2:
			return "reject requeue=" + exceptionArg(e.Args[1]) + ": " + ExceptionText(&protocol.Exception{Args: e.Args[:1]})
		}
	}
	return name + exceptionArgs(e, false)
}

// textOf returns the text of a value that has no form in JSON.
func textOf(a any) string { return fmt.Sprint(a) }
