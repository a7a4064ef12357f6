package protocol

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// unpackMsgpack reads a body of msgpack (the specification of 2017), as
// msgpack.unpackb(raw=False) does. Unlike in Python, keys may be numbers, which become
// text as in json.dumps. Bytes as keys are refused, because they have no form in JSON. A
// timestamp (extension -1) becomes a datetime. An extension of an application becomes its
// type and its bytes, as json.dumps writes Python's ExtType.
func unpackMsgpack(data []byte, lim Limits) ([]byte, error) {
	if len(data) > lim.Size {
		return nil, refuse(ReasonTooLarge, "%d bytes, limit %d", len(data), lim.Size)
	}
	u := unpacker{data: data, rawBuilder: rawBuilder{lim: lim, buf: make([]byte, 0, min(lim.Size, 2*len(data)+64))}}
	if err := u.value(); err != nil {
		return nil, err
	}
	if u.pos < len(data) {
		return nil, u.bad("data behind the end")
	}
	return u.buf, u.fits(0)
}

type unpacker struct {
	rawBuilder
	data []byte
	pos  int
}

func (u *unpacker) bad(what string) error {
	return refuse(ReasonBadBody, "msgpack: %s at byte %d", what, u.pos)
}

func (u *unpacker) take(n uint64) ([]byte, error) {
	if n > uint64(len(u.data)-u.pos) {
		return nil, u.bad("unexpected end")
	}
	u.pos += int(n)
	return u.data[u.pos-int(n) : u.pos], nil
}

// number reads n bytes, 1, 2, 4 or 8, as an unsigned number.
func (u *unpacker) number(n uint64) (v uint64, err error) {
	b, err := u.take(n)
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v, err
}

func (u *unpacker) value() error {
	b, err := u.take(1)
	if err != nil {
		return err
	}
	switch c := b[0]; {
	case c < 0x80:
		return u.word(strconv.Itoa(int(c)))
	case c < 0x90:
		return u.mapping(uint64(c & 0xf))
	case c < 0xa0:
		return u.array(uint64(c & 0xf))
	case c < 0xc0:
		return u.str(uint64(c & 0x1f))
	case c >= 0xe0:
		return u.word(strconv.Itoa(int(int8(c))))
	case c == 0xc0:
		return u.word("null")
	case c == 0xc2:
		return u.word("false")
	case c == 0xc3:
		return u.word("true")
	case c == 0xc1:
		u.pos--
		return u.bad("reserved type")
	case c >= 0xd4 && c <= 0xd8: // fixext
		return u.extension(1 << (c - 0xd4))
	default:
		return u.sized(c)
	}
}

// sized reads a value whose type is followed by a number: the value itself, or its
// length.
func (u *unpacker) sized(c byte) error {
	width := uint64(1)
	switch c {
	case 0xc5, 0xc8, 0xcd, 0xd1, 0xda, 0xdc, 0xde:
		width = 2
	case 0xc6, 0xc9, 0xca, 0xce, 0xd2, 0xdb, 0xdd, 0xdf:
		width = 4
	case 0xcb, 0xcf, 0xd3:
		width = 8
	}
	n, err := u.number(width)
	if err != nil {
		return err
	}
	switch {
	case c <= 0xc6:
		return u.bin(n)
	case c <= 0xc9:
		return u.extension(n)
	case c == 0xca:
		return u.float(float64(math.Float32frombits(uint32(n))))
	case c == 0xcb:
		return u.float(math.Float64frombits(n))
	case c <= 0xcf:
		return u.word(strconv.FormatUint(n, 10))
	case c <= 0xd3:
		shift := 64 - 8*width // the sign is in the highest byte
		return u.word(strconv.FormatInt(int64(n<<shift)>>shift, 10))
	case c <= 0xdb:
		return u.str(n)
	case c <= 0xdd:
		return u.array(n)
	}
	return u.mapping(n)
}

func (u *unpacker) float(f float64) error {
	return u.word(string(appendFloat(nil, f, 64)))
}

func (u *unpacker) str(n uint64) error {
	b, err := u.take(n)
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return u.bad("text that is not UTF-8 ends")
	}
	return u.text(string(b))
}

func (u *unpacker) bin(n uint64) error {
	b, err := u.take(n)
	if err != nil {
		return err
	}
	return u.bytes(b)
}

func (u *unpacker) array(n uint64) error {
	if err := u.open('['); err != nil {
		return err
	}
	for i := range n {
		if i > 0 {
			u.buf = append(u.buf, ", "...)
		}
		if err := u.value(); err != nil {
			return err
		}
	}
	u.close(']')
	return nil
}

func (u *unpacker) mapping(n uint64) error {
	if err := u.open('{'); err != nil {
		return err
	}
	for i := range n {
		if i > 0 {
			u.buf = append(u.buf, ", "...)
		}
		if err := u.key(); err != nil {
			return err
		}
		u.buf = append(u.buf, ": "...)
		if err := u.value(); err != nil {
			return err
		}
	}
	u.close('}')
	return nil
}

// key reads a value and makes it a key. Keys do not count as values.
func (u *unpacker) key() error {
	if u.pos < len(u.data) {
		switch c := u.data[u.pos]; { // other types are refused before they are read
		case c >= 0x80 && c < 0xa0, c >= 0xc4 && c <= 0xc9, c >= 0xd4 && c <= 0xd8, c >= 0xdc && c <= 0xdf:
			return u.bad("key that is neither text nor number")
		}
	}
	start := len(u.buf)
	u.count--
	if err := u.value(); err != nil {
		return err
	}
	key, _ := keyed(u.buf[start:])
	u.buf = append(u.buf[:start], key...)
	return nil
}

func (u *unpacker) extension(n uint64) error {
	b, err := u.take(1)
	if err != nil {
		return err
	}
	code := int8(b[0])
	data, err := u.take(n)
	if err != nil {
		return err
	}
	if code < -1 {
		return u.bad("reserved extension ends")
	}
	if code >= 0 {
		if err := u.open('['); err != nil {
			return err
		}
		if err := u.word(strconv.Itoa(int(code))); err != nil {
			return err
		}
		u.buf = append(u.buf, ", "...)
		err := u.bytes(data)
		u.close(']')
		return err
	}
	t, ok := timestamp(data)
	if !ok {
		return u.bad("timestamp out of range ends")
	}
	return u.typed("datetime", FormatTime(t))
}

// timestamp reads the three forms of the extension.
func timestamp(b []byte) (time.Time, bool) {
	var seconds int64
	var nanos uint32
	switch len(b) {
	case 4:
		seconds = int64(binary.BigEndian.Uint32(b))
	case 8:
		v := binary.BigEndian.Uint64(b)
		seconds, nanos = int64(v&(1<<34-1)), uint32(v>>34)
	case 12:
		nanos, seconds = binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint64(b[4:]))
	default:
		return time.Time{}, false
	}
	const first, last = -62135596800, 253402300799 // the years 1 to 9999
	if seconds < first || seconds > last || nanos > 999_999_999 {
		return time.Time{}, false
	}
	return time.Unix(seconds, int64(nanos)), true
}

// These values have no form in a serializer. Python's serializers refuse the same.
var (
	errMsgpackTyped = errors.New("msgpack has no datetime, date, time, decimal and uuid")
	errMsgpackInt   = errors.New("msgpack has no integers beyond 64 bits")
	errSurrogate    = errors.New("msgpack has no text with an unpaired surrogate")
	errTooLong      = errors.New("msgpack has no values beyond 4 GiB")
	errYAMLTyped    = errors.New("yaml has no time, decimal and uuid")
	errYAMLTime     = errors.New("datetime that yaml has no form for")
)

// packMsgpack writes the values of a JSON text as msgpack.packb(use_bin_type=True) does.
func packMsgpack(raw Raw) ([]byte, error) {
	p := packer{buf: make([]byte, 0, len(raw))}
	if err := transcode(raw, &p); err != nil {
		return nil, err
	}
	return p.buf, nil
}

type packer struct {
	buf    []byte
	starts []int // of the open containers
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

// close inserts the head before the container, whose length is known now.
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
