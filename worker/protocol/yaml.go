package protocol

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/evently/workers/worker/protocol/internal/yaml"
)

// unpackYAML reads a body of YAML as yaml.safe_load does, with its tags for null,
// bool, int, float, str, binary, timestamp, seq and map. Refused are
//
//   - every other tag, !!python/... above all; !!set, !!omap and !!pairs, too,
//     which have no counterpart in JSON;
//   - merge keys (<<), on which the versions of PyYAML disagree;
//   - aliases inside the node that they name;
//   - keys that json.dumps refuses: dates, bytes and containers.
//
// An alias is written out each time it occurs and counts for the limits.
func unpackYAML(data []byte, lim Limits) ([]byte, error) {
	if len(data) > lim.Size {
		return nil, refuse(ReasonTooLarge, "%d bytes, limit %d", len(data), lim.Size)
	}
	r, err := yaml.NewReader(data)
	if err != nil {
		return nil, badYAML(err)
	}
	y := yamlReader{events: r, rawBuilder: rawBuilder{lim: lim, buf: make([]byte, 0, min(lim.Size, len(data)+len(data)/2+64))}}
	e, err := y.next()
	if err != nil {
		return nil, err
	}
	if e.Kind == yaml.End {
		return []byte("null"), nil
	}
	if err := y.node(e); err != nil {
		return nil, err
	}
	if _, err := y.next(); err != nil { // nothing but the end may follow
		return nil, err
	}
	return y.buf, y.fits(0)
}

// badYAML turns an error of the YAML text into one of the body.
func badYAML(err error) error {
	return refuse(ReasonBadBody, "yaml: %w", err)
}

var (
	errTag   = errors.New("a tag that is not safe, or does not fit its value")
	errKey   = errors.New("a key that is neither text nor number, bool or null")
	errMerge = errors.New("a merge key")
	errAlias = errors.New("an alias without its anchor, or inside of it")
	errTwice = errors.New("an anchor that is there twice")
)

type yamlReader struct {
	rawBuilder
	events  *yaml.Reader
	anchors map[string]anchored
}

// anchored is the value of an anchor, which aliases repeat.
type anchored struct {
	scalar     []byte // text of a scalar
	start, end int    // span of a container in the output; end 0: still open
	count      int    // values in it
}

func (y *yamlReader) next() (yaml.Event, error) {
	e, err := y.events.Next()
	if err != nil {
		return e, badYAML(err)
	}
	return e, nil
}

// node reads the node that starts with e.
func (y *yamlReader) node(e yaml.Event) error {
	switch e.Kind {
	case yaml.Alias:
		return y.alias(e.Anchor)
	case yaml.Scalar:
		start, count := len(y.buf), y.count
		if err := y.scalar(e); err != nil || e.Anchor == "" {
			return err
		}
		return y.anchor(e.Anchor, anchored{scalar: bytes.Clone(y.buf[start:]), count: y.count - count})
	}
	a := anchored{start: len(y.buf), count: y.count}
	if e.Anchor != "" {
		if err := y.anchor(e.Anchor, a); err != nil {
			return err
		}
	}
	var err error
	if e.Kind == yaml.Sequence {
		err = y.sequence(e)
	} else {
		err = y.mapping(e)
	}
	if err != nil || e.Anchor == "" {
		return err
	}
	a.end, a.count = len(y.buf), y.count-a.count
	y.anchors[e.Anchor] = a
	return nil
}

func (y *yamlReader) anchor(name string, a anchored) error {
	if _, twice := y.anchors[name]; twice {
		return badYAML(errTwice)
	}
	if y.anchors == nil {
		y.anchors = make(map[string]anchored)
	}
	y.anchors[name] = a
	return nil
}

func (y *yamlReader) alias(name string) error {
	a, ok := y.anchors[name]
	text := a.scalar
	if text == nil {
		if !ok || a.end == 0 {
			return badYAML(errAlias)
		}
		text = y.buf[a.start:a.end]
	}
	if err := y.add(a.count); err != nil {
		return err
	}
	if err := y.fits(len(text)); err != nil {
		return err
	}
	y.buf = append(y.buf, text...)
	return nil
}

func (y *yamlReader) sequence(e yaml.Event) error {
	return y.collection(e, "seq", '[', y.node)
}

func (y *yamlReader) mapping(e yaml.Event) error {
	return y.collection(e, "map", '{', y.member)
}

// collection reads the elements of the collection that e has started.
func (y *yamlReader) collection(e yaml.Event, tag string, opening byte, element func(yaml.Event) error) error {
	if e.Tag != "" && e.Tag != yamlTag+tag {
		return badYAML(errTag)
	}
	if err := y.open(opening); err != nil {
		return err
	}
	for first := true; ; first = false {
		e, err := y.next()
		if err != nil {
			return err
		}
		if e.Kind == yaml.Close {
			y.close(opening + 2) // ']' is '[' + 2, '}' is '{' + 2
			return nil
		}
		if !first {
			y.buf = append(y.buf, ", "...)
		}
		if err := element(e); err != nil {
			return err
		}
	}
}

// member reads a key and its value.
func (y *yamlReader) member(e yaml.Event) error {
	if err := y.key(e); err != nil {
		return err
	}
	y.buf = append(y.buf, ": "...)
	e, err := y.next()
	if err != nil {
		return err
	}
	return y.node(e)
}

// key reads a node and makes it a key. Keys do not count as values.
func (y *yamlReader) key(e yaml.Event) error {
	switch {
	case e.Kind != yaml.Scalar && e.Kind != yaml.Alias:
		return badYAML(errKey)
	case e.Plain && string(e.Value) == "<<" || e.Tag == yamlTag+"merge":
		return badYAML(errMerge)
	case e.Plain && string(e.Value) == "=": // a text for PyYAML, but only as a key
		e.Plain = false
	}
	start, count := len(y.buf), y.count
	if err := y.node(e); err != nil {
		return err
	}
	y.count = count
	key, ok := keyed(y.buf[start:])
	if !ok {
		return badYAML(errKey)
	}
	y.buf = append(y.buf[:start], key...)
	return nil
}

// yamlTag is the prefix that !! stands for.
const yamlTag = "tag:yaml.org,2002:"

// scalar writes the value of a text by its tag, or the text itself.
func (y *yamlReader) scalar(e yaml.Event) error {
	value := string(e.Value)
	tag := e.Tag
	if tag == "" {
		tag = yamlTag + "str"
		if e.Plain {
			tag = yamlTag + yaml.PlainType(value)
		}
	}
	name, ok := strings.CutPrefix(tag, yamlTag)
	if !ok {
		return badYAML(errTag)
	}
	switch name {
	case "str":
		return y.text(value)
	case "null":
		return y.word("null")
	case "bool":
		if b, ok := yaml.Bool(value); ok {
			return y.word(b)
		}
	case "int":
		if len(value) > maxDigits {
			return refuse(ReasonTooLarge, "integer of %d digits, limit %d", len(value), maxDigits)
		}
		if n, ok := yaml.Int(value); ok && len(strings.TrimPrefix(n, "-")) <= maxDigits {
			return y.word(n)
		}
	case "float":
		if f, ok := yaml.Float(value); ok {
			return y.word(string(appendFloat(nil, f, 64)))
		}
	case "timestamp":
		if typ, text, ok := yaml.Timestamp(value); ok {
			return y.typed(typ, text)
		}
	case "binary":
		return y.binary(value)
	}
	return badYAML(errTag)
}

func (y *yamlReader) binary(value string) error {
	if strings.IndexFunc(value, func(c rune) bool { return c >= utf8.RuneSelf }) >= 0 {
		return badYAML(errTag)
	}
	text := strings.Map(func(c rune) rune {
		if c == '\n' || c == ' ' {
			return -1
		}
		return c
	}, value)
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return badYAML(errTag)
	}
	return y.bytes(b)
}
