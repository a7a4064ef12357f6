package compression

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// minWindow is the smallest window of LZMA2, and of a .lzma file.
const minWindow = 4096

// unxz reads the .xz container, or its predecessor, the .lzma file.
//
// The library allocates the window that a header declares, up to 4 GiB. So the headers
// are walked first. They hold the unpacked sizes of the chunks, and a window need not be
// larger.
func unxz(data []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(data, xzMagic) {
		return unlzma(data, limit)
	}
	w := xzWalk{data: data, rest: limit}
	if err := w.walk(); err != nil {
		return nil, err
	}
	r, err := xz.NewReader(bytes.NewReader(w.data))
	if err != nil {
		return nil, err
	}
	return readAll(r, len(data), limit)
}

// xzip writes one block with the check that Python's lzma.compress chooses.
func xzip(data []byte) ([]byte, error) {
	window := min(max(len(data), minWindow), 8<<20)
	return write(data, func(w io.Writer) (io.WriteCloser, error) {
		return xz.WriterConfig{DictCap: window, CheckSum: xz.CRC64}.NewWriter(w)
	})
}

// unlzma reads one .lzma file: properties, window (4 bytes), size (8 bytes, all ones when
// it is not known), and the data to the end. It has no magic number; as in liblzma,
// headers that no program writes are refused.
func unlzma(data []byte, limit int) ([]byte, error) {
	if len(data) < lzma.HeaderLen {
		return nil, ErrDamaged
	}
	window, size := binary.LittleEndian.Uint32(data[1:]), binary.LittleEndian.Uint64(data[5:])
	known := size != 1<<64-1
	if known && size >= 1<<38 || !roundWindow(window) {
		return nil, ErrDamaged
	}
	most := uint64(limit)
	if known {
		if size > most {
			return nil, ErrTooLarge
		}
		most = size
	}
	head := bytes.Clone(data[:lzma.HeaderLen])
	if most = max(most, minWindow); uint64(window) > most {
		binary.LittleEndian.PutUint32(head[1:], uint32(most))
	}
	source := bytes.NewReader(append(head, data[lzma.HeaderLen:]...))
	r, err := lzma.NewReader(source)
	if err != nil {
		return nil, err
	}
	out, err := readAll(r, len(data), limit)
	if err == nil && source.Len() > 0 {
		return nil, ErrDamaged
	}
	return out, err
}

// roundWindow reports whether a window is 2^n or 2^n + 2^(n-1), or the largest.
func roundWindow(size uint32) bool {
	up := size - 1 // and all bits but one behind the highest set, and one more
	for _, n := range []int{2, 3, 4, 8, 16} {
		up |= up >> n
	}
	return up+1 == size || size == 1<<32-1
}
