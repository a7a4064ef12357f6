package mail

import "bytes"

// endOfData is the end of a mail, RFC 5321 section 4.1.1.4. A body does not contain it,
// as the dots that begin its lines are doubled.
var endOfData = []byte("\r\n.\r\n")

// finalWrite keeps the end of data back until ask allows it. The methods of a nil
// finalWrite may be called.
type finalWrite struct {
	ask func() error

	started bool   // the body goes out
	kept    []byte // may be the beginning of the end of data
	refusal error  // of ask
}

// start says that what is written from now on is a body.
func (f *finalWrite) start() {
	if f != nil {
		f.started = true
	}
}

// expected reports whether the end of data is still to come.
func (f *finalWrite) expected() bool { return f != nil && f.started }

// withheld returns the refusal, or nil.
func (f *finalWrite) withheld() error {
	if f == nil {
		return nil
	}
	return f.refusal
}

// split returns what may go out now of what is kept and of p. end reports that all
// that is left is the end of data.
func (f *finalWrite) split(p []byte) (ready []byte, end bool) {
	if len(f.kept) > 0 {
		p = append(f.kept, p...)
	}
	n := len(p)
	for n = max(0, n-len(endOfData)); !bytes.HasPrefix(endOfData, p[n:]); n++ {
	}
	f.kept = bytes.Clone(p[n:])
	return p[:n], len(f.kept) == len(endOfData)
}

// allow asks. Nothing is kept back after that.
func (f *finalWrite) allow() error {
	f.started = false
	f.refusal = f.ask()
	return f.refusal
}
