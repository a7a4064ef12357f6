package compression

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// maxBlocks bounds blocks and streams together: each costs the decoder some
// 30 KB of tables. Python writes one; "xz -T" one for 24 MiB.
const maxBlocks = 256

var xzMagic = []byte("\xfd7zXZ\x00")

// xzWalk walks over the structure of .xz streams and narrows the windows. It leaves
// unknown structures for the library to refuse. See "The .xz File Format", version 1.2.0;
// the layout of LZMA2 chunks is only in the sources of liblzma (lzma2_decoder.c).
type xzWalk struct {
	data   []byte // the whole; a copy from the first change on
	copied bool
	pos    int
	rest   int // bytes that may still be unpacked
	blocks int
}

// take moves over n bytes and returns them.
func (w *xzWalk) take(n int) ([]byte, error) {
	if n < 0 || n > len(w.data)-w.pos {
		return nil, ErrDamaged
	}
	w.pos += n
	return w.data[w.pos-n : w.pos], nil
}

func (w *xzWalk) walk() error {
	for w.pos < len(w.data) {
		if w.blocks++; w.blocks > maxBlocks {
			return ErrDamaged
		}
		if err := w.stream(); err != nil {
			return err
		}
		for w.pos < len(w.data) && w.data[w.pos] == 0 { // padding between streams
			w.pos++
		}
	}
	return nil
}

// stream walks over header, blocks, index and footer.
func (w *xzWalk) stream() error {
	head, err := w.take(12)
	if err != nil || !bytes.HasPrefix(head, xzMagic) {
		return ErrDamaged
	}
	check := map[byte]int{0x00: 0, 0x01: 4, 0x04: 8, 0x0a: 32} // none, CRC32, CRC64, SHA-256
	size, known := check[head[7]]
	if !known {
		return ErrDamaged
	}
	for {
		if w.pos >= len(w.data) {
			return ErrDamaged
		}
		if w.data[w.pos] == 0 {
			return w.index()
		}
		if w.blocks++; w.blocks > maxBlocks {
			return ErrDamaged
		}
		if err := w.block(size); err != nil {
			return err
		}
	}
}

// block walks over one block and narrows its window to its unpacked size.
func (w *xzWalk) block(check int) error {
	start := w.pos
	head, err := w.take((int(w.data[start]) + 1) * 4)
	if err != nil {
		return err
	}
	window, err := windowByte(head)
	if err != nil {
		return err
	}
	chunks := w.pos
	size, err := w.chunks()
	if err != nil {
		return err
	}
	if size > w.rest {
		return ErrTooLarge
	}
	w.rest -= size
	packed := w.pos - chunks
	if _, err := w.take(-packed&3 + check); err != nil {
		return err
	}
	narrow := byte(0)
	for windowSize(narrow) < uint64(size) {
		narrow++
	}
	if head[window] <= narrow {
		return nil
	}
	if !w.copied {
		w.data, w.copied = bytes.Clone(w.data), true
	}
	head = w.data[start : start+len(head)]
	sum := head[len(head)-4:]
	if crc32.ChecksumIEEE(head[:len(head)-4]) != binary.LittleEndian.Uint32(sum) {
		return ErrDamaged // or the new sum would hide it
	}
	head[window] = narrow
	binary.LittleEndian.PutUint32(sum, crc32.ChecksumIEEE(head[:len(head)-4]))
	return nil
}

// windowSize returns the window of a property of LZMA2.
func windowSize(property byte) uint64 {
	return uint64(2|property&1) << (property/2 + 11)
}

// windowByte finds the property of LZMA2, which must be the only filter, in the
// header of a block.
func windowByte(head []byte) (int, error) {
	flags, at := head[1], 2
	for _, bit := range []byte{0x40, 0x80} { // sizes, packed and not
		if flags&bit == 0 {
			continue
		}
		if _, n := binary.Uvarint(head[at:]); n > 0 {
			at += n
		} else {
			return 0, ErrDamaged
		}
	}
	const lzma2, largest = 0x21, 40
	if flags&0x3f != 0 || at+3 > len(head)-4 || head[at] != lzma2 || head[at+1] != 1 || head[at+2] > largest {
		return 0, ErrDamaged
	}
	return at + 2, nil
}

// chunks walks over the chunks of LZMA2 up to their end and returns their unpacked size.
func (w *xzWalk) chunks() (size int, err error) {
	for {
		control, err := w.take(1)
		if err != nil {
			return 0, err
		}
		c := control[0]
		switch {
		case c == 0:
			return size, nil
		case c >= 0x80: // packed, in front of it new properties from 0xc0 on
			b, err := w.take(4)
			if err != nil {
				return 0, err
			}
			size += int(c&0x1f)<<16 + int(binary.BigEndian.Uint16(b)) + 1
			packed := int(binary.BigEndian.Uint16(b[2:])) + 1
			if c >= 0xc0 {
				packed++
			}
			if _, err := w.take(packed); err != nil {
				return 0, err
			}
		case c <= 2: // as it is
			b, err := w.take(2)
			if err != nil {
				return 0, err
			}
			n := int(binary.BigEndian.Uint16(b)) + 1
			size += n
			if _, err := w.take(n); err != nil {
				return 0, err
			}
		default:
			return 0, ErrDamaged
		}
		if size > w.rest {
			return 0, ErrTooLarge
		}
	}
}

// index walks over the list of blocks and the footer.
func (w *xzWalk) index() error {
	start := w.pos
	w.pos++
	count, err := w.varint()
	if err != nil || count > maxBlocks {
		return ErrDamaged
	}
	for range 2 * count {
		if _, err := w.varint(); err != nil {
			return err
		}
	}
	const sum, footer = 4, 12
	_, err = w.take(-(w.pos-start)&3 + sum + footer)
	return err
}

func (w *xzWalk) varint() (uint64, error) {
	v, n := binary.Uvarint(w.data[w.pos:])
	if n <= 0 {
		return 0, ErrDamaged
	}
	w.pos += n
	return v, nil
}
