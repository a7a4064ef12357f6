package compression

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/zstd"
)

// unzstd reads frames one after the other, skippable ones too.
//
// The library keeps all of the output and needs no memory for the window, but has one
// limit for both. The window of kombu's frames is their content. Other frames may declare
// a larger one than the limit, so it is narrowed first.
func unzstd(data []byte, limit int) ([]byte, error) {
	w := zstdWalk{data: data, rest: uint64(limit), window: max(limit, maxZstdBlock)}
	if err := w.walk(); err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(w.window)))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	out, err := d.DecodeAll(w.data, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || err == nil && len(out) > limit {
		return nil, ErrTooLarge
	}
	return out, err
}

// zstdify writes one frame with its content size, without which the decoder of
// kombu 5.2 does not work.
func zstdify(data []byte) ([]byte, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithSingleSegment(true))
	if err != nil {
		return nil, err
	}
	return e.EncodeAll(data, nil), e.Close()
}

// maxZstdBlock is the largest size of an unpacked block, and so the smallest window that
// fits every block.
const maxZstdBlock = 128 << 10

// zstdWalk walks over the frames (RFC 8878 section 3.1). It leaves unknown structures for
// the library to refuse.
type zstdWalk struct {
	data   []byte // the whole; a copy from the first change on
	copied bool
	pos    int
	rest   uint64 // bytes that may still be unpacked
	window int    // size to which windows are narrowed
}

func (w *zstdWalk) take(n int) ([]byte, error) {
	if n < 0 || n > len(w.data)-w.pos {
		return nil, ErrDamaged
	}
	w.pos += n
	return w.data[w.pos-n : w.pos], nil
}

func (w *zstdWalk) walk() error {
	if len(w.data) == 0 {
		return ErrDamaged
	}
	for w.pos < len(w.data) {
		magic, err := w.take(4)
		if err != nil {
			return err
		}
		switch m := binary.LittleEndian.Uint32(magic); {
		case m == 0xfd2fb528:
			err = w.frame()
		case m&^0xf == 0x184d2a50: // skippable
			var b []byte
			if b, err = w.take(4); err == nil {
				_, err = w.take(int(binary.LittleEndian.Uint32(b)))
			}
		default:
			err = ErrDamaged
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *zstdWalk) frame() error {
	b, err := w.take(1)
	if err != nil {
		return err
	}
	flags := b[0]
	single, check := flags&0x20 != 0, int(flags&4)
	if !single {
		if err := w.narrow(); err != nil {
			return err
		}
	}
	if _, err := w.take([]int{0, 1, 2, 4}[flags&3]); err != nil { // id of a dictionary
		return err
	}
	if err := w.contentSize(flags>>6, single); err != nil {
		return err
	}
	for {
		b, err := w.take(3)
		if err != nil {
			return err
		}
		head := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		size := head >> 3
		if head>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		if _, err := w.take(size); err != nil {
			return err
		}
		if head&1 != 0 { // the last one
			_, err := w.take(check)
			return err
		}
	}
}

// narrow makes the window, 2^(10+exponent) bytes and mantissa eighths of it, as
// small as it may be.
func (w *zstdWalk) narrow() error {
	b, err := w.take(1)
	if err != nil {
		return err
	}
	base := 1 << (10 + b[0]>>3)
	if base+base/8*int(b[0]&7) <= w.window {
		return nil
	}
	for exponent := 0; ; exponent++ {
		if base = 1 << (10 + exponent); base >= w.window {
			w.window = base
			if !w.copied {
				w.data, w.copied = bytes.Clone(w.data), true
			}
			w.data[w.pos-1] = byte(exponent << 3)
			return nil
		}
	}
}

func (w *zstdWalk) contentSize(flag byte, single bool) error {
	var size uint64
	switch {
	case flag == 0 && !single:
		return nil
	case flag == 0:
		b, err := w.take(1)
		if err != nil {
			return err
		}
		size = uint64(b[0])
	case flag == 1:
		b, err := w.take(2)
		if err != nil {
			return err
		}
		size = uint64(binary.LittleEndian.Uint16(b)) + 256
	case flag == 2:
		b, err := w.take(4)
		if err != nil {
			return err
		}
		size = uint64(binary.LittleEndian.Uint32(b))
	default:
		b, err := w.take(8)
		if err != nil {
			return err
		}
		size = binary.LittleEndian.Uint64(b)
	}
	if size > w.rest {
		return ErrTooLarge
	}
	w.rest -= size
	return nil
}
