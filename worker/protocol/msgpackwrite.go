package protocol

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
)

// Faults of values that a serializer has no form for. Python's refuse the same.
var (
	errMsgpackTyped = errors.New("msgpack has no datetime, date, time, decimal and uuid")
	errMsgpackInt   = errors.New("msgpack has no integers beyond 64 bits")
	errSurrogate    = errors.New("msgpack has no text with an unpaired surrogate")
	errTooLong      = errors.New("msgpack has no values beyond 4 GiB")
	errYAMLTyped    = errors.New("yaml has no time, decimal and uuid")
	errYAMLTime     = errors.New("datetime that yaml has no form for")
)

// packMsgpack writes a JSON text as msgpack.packb(use_bin_type=True) writes the
// values of it.
func packMsgpack(raw Raw) ([]byte, error) {
	p := packer{buf: make([]byte, 0, len(raw))}
	if err := transcode(raw, &p); err != nil {
		return nil, err
	}
	return p.buf, nil
}

type packer struct {
	buf    []byte
	starts []int // of the containers around
}

func (p *packer) word(text Raw, k kind) error {
	switch {
	case k == kindNull:
		p.buf = append(p.buf, 0xc0)
	case k == kindBool && text[0] == 'f':
		p.buf = append(p.buf, 0xc2)
	case k == kindBool:
		p.buf = append(p.buf, 0xc3)
	case k == kindFloat:
		p.buf = binary.BigEndian.AppendUint64(append(p.buf, 0xcb), math.Float64bits(float(text)))
	default:
		return p.integer(string(text))
	}
	return nil
}

// integer takes the shortest form that holds the number.
func (p *packer) integer(text string) error {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		switch {
		case n < 0x80:
			p.buf = append(p.buf, byte(n))
		case n <= math.MaxUint8:
			p.buf = append(p.buf, 0xcc, byte(n))
		case n <= math.MaxUint16:
			p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xcd), uint16(n))
		case n <= math.MaxUint32:
			p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xce), uint32(n))
		default:
			p.buf = binary.BigEndian.AppendUint64(append(p.buf, 0xcf), n)
		}
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return errMsgpackInt
	case n >= -0x20:
		p.buf = append(p.buf, byte(n))
	case n >= math.MinInt8:
		p.buf = append(p.buf, 0xd0, byte(n))
	case n >= math.MinInt16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xd1), uint16(n))
	case n >= math.MinInt32:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xd2), uint32(n))
	default:
		p.buf = binary.BigEndian.AppendUint64(append(p.buf, 0xd3), uint64(n))
	}
	return nil
}

func (p *packer) text(quoted Raw) error {
	text, ok := appendUnquoted(make([]byte, 0, len(quoted)), quoted)
	if !ok {
		return errSurrogate
	}
	switch n := len(text); {
	case n < 32:
		p.buf = append(p.buf, 0xa0|byte(n))
	case n <= math.MaxUint8:
		p.buf = append(p.buf, 0xd9, byte(n))
	default:
		if err := p.length(n, 0xda, 0xdb); err != nil {
			return err
		}
	}
	p.buf = append(p.buf, text...)
	return nil
}

func (p *packer) bytes(data []byte) error {
	if n := len(data); n <= math.MaxUint8 {
		p.buf = append(p.buf, 0xc4, byte(n))
	} else if err := p.length(n, 0xc5, 0xc6); err != nil {
		return err
	}
	p.buf = append(p.buf, data...)
	return nil
}

// length writes a type and a length of two bytes, or another type and four.
func (p *packer) length(n int, short, long byte) error {
	switch {
	case n <= math.MaxUint16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, short), uint16(n))
	case uint64(n) <= math.MaxUint32:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, long), uint32(n))
	default:
		return errTooLong
	}
	return nil
}

func (p *packer) typed(string, string) error { return errMsgpackTyped }
func (p *packer) open(kind)                  { p.starts = append(p.starts, len(p.buf)) }
func (p *packer) next(bool)                  {}
func (p *packer) colon()                     {}

// close puts the head in front of the container, now that its length is known.
func (p *packer) close(k kind, n int) {
	start := p.starts[len(p.starts)-1]
	p.starts = p.starts[:len(p.starts)-1]
	head := packer{}
	short, long := byte(0x90), byte(0xdc)
	if k == kindObject {
		short, long = 0x80, 0xde
	}
	if n < 16 {
		head.buf = append(head.buf, short|byte(n))
	} else {
		head.length(n, long, long+1) // a text of more elements would not fit into memory
	}
	p.buf = slices.Insert(p.buf, start, head.buf...)
}
