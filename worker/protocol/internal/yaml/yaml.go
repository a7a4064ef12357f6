// Package yaml reads YAML 1.1 as PyYAML does, event by event.
//
// Scanner and grammar follow those of PyYAML 6 (scanner.py, parser.py), which
// kombu reads and writes bodies with, so that a text means here what it means
// there. The file LICENSE is PyYAML's.
//
// A document is never held as a tree: memory is needed for the open collections around
// the current event, and for its text. YAML libraries for Go hold the whole tree. %TAG
// directives and UTF-16 are refused.
package yaml

import (
	"fmt"
	"unicode/utf8"
)

// Kind is the type of an [Event].
type Kind byte

// The kinds of events.
const (
	End      Kind = iota // of the document
	Scalar               // a text
	Alias                // stands for the node with this Anchor
	Sequence             // starts; its elements follow
	Mapping              // starts; its keys and values follow in turn
	Close                // of the innermost sequence or mapping
)

// Event is one step through a document.
type Event struct {
	Kind   Kind
	Anchor string // name that the node gets, or that an alias names
	// Tag is the tag with its prefix spelled out, "tag:yaml.org,2002:int" for
	// !!int. Without one, or with "!", it is "".
	Tag string
	// Value is the text of a scalar. It may be a span of the input. Surrogates,
	// which escapes can bring in, are encoded like other characters.
	Value []byte
	// Plain is set if the text decides the type of a scalar without tag.
	Plain bool
}

// SyntaxError is a fault of the text. It holds no piece of it.
type SyntaxError struct {
	Line    int // the first is 1
	Problem string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Problem) }

// Reader reads one document.
type Reader struct {
	parser
}

// NewReader returns a reader of data, which must not change. The error is a
// [*SyntaxError], for characters that YAML does not allow.
func NewReader(data []byte) (*Reader, error) {
	line := 1
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == '\n':
			line++
		case c == utf8.RuneError && size == 1:
			return nil, &SyntaxError{line, "not UTF-8"}
		case c < ' ' && c != '\t' && c != '\r', c >= 0x7f && c < 0xa0 && c != 0x85, c == 0xfffe, c == 0xffff:
			return nil, &SyntaxError{line, "character that is not printable"}
		}
		i += size
	}
	r := &Reader{parser{scanner: scanner{cursor: cursor{data: data}, indent: -1, allowKey: true}}}
	r.state = (*parser).document
	return r, nil
}

// Next returns the next event. The last one is [End]. Text after it, such as a second
// document, is an error. The error is a [*SyntaxError].
func (r *Reader) Next() (Event, error) {
	if r.state == nil {
		return Event{Kind: End}, r.err
	}
	e := r.state(&r.parser)
	if r.err != nil {
		r.state = nil
		return Event{}, r.err
	}
	return e, nil
}
