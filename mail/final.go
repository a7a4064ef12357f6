package mail

import "bytes"

// endOfData ends a mail, RFC 5321 section 4.1.1.4. A body cannot contain it, because dots at
// the beginning of its lines are doubled.
var endOfData = []byte("\r\n.\r\n")

// finalWrite withholds the end of data until ask allows it. The methods of a nil finalWrite
// may be called.
type finalWrite struct {
	ask func() error

	started bool   // the body is being written
	kept    []byte // the possible beginning of the end of data
	refusal error  // the error of ask
}

// start marks the beginning of the body.
func (f *finalWrite) start() {
	if f != nil {
		f.started = true
	}
}

// expected reports whether the end of data was not written yet.
func (f *finalWrite) expected() bool { return f != nil && f.started }

// withheld returns the error of ask, or nil.
func (f *finalWrite) withheld() error {
	if f == nil {
		return nil
	}
	return f.refusal
}

// split appends p to the kept octets and returns the octets that may be written now. end reports
// that only the end of data is left.
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

// allow calls ask. No octets are withheld after that.
func (f *finalWrite) allow() error {
	f.started = false
	f.refusal = f.ask()
	return f.refusal
}
