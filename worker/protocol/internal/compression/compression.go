// Package compression packs and unpacks message bodies by the methods of
// kombu.compression.
//
// A body is untrusted. Unpacking gives at most limit bytes and needs memory in proportion
// to the limit, not to the window or the size in a header. There is no goroutine.
package compression

import (
	"bytes"
	"errors"
	"io"
)

// Method is a way to compress, named by kombu's content type.
type Method string

// The methods of kombu.
const (
	Zlib   Method = "application/x-gzip" // a stream of RFC 1950, in spite of its name
	Bzip2  Method = "application/x-bz2"
	XZ     Method = "application/x-lzma" // the .xz container; read also the older .lzma
	Brotli Method = "application/x-brotli"
	Zstd   Method = "application/zstd"
)

// Faults of [Method.Decompress] and [Method.Compress].
var (
	ErrTooLarge = errors.New("unpacked size is beyond the limit")
	ErrDamaged  = errors.New("not a stream of this method, or damaged")
	ErrReadOnly = errors.New("bzip2 is only read: no maintained Go library writes it")
)

// ByName returns the method of a content type or of an alias of kombu.
func ByName(name string) (Method, bool) {
	switch name {
	case string(Zlib), "gzip", "zlib":
		return Zlib, true
	case string(Bzip2), "bzip2", "bzip":
		return Bzip2, true
	case string(XZ), "lzma", "xz":
		return XZ, true
	case string(Brotli), "brotli":
		return Brotli, true
	case string(Zstd), "zstd", "zstandard":
		return Zstd, true
	}
	return "", false
}

// Decompress unpacks data into at most limit bytes. Consecutive streams are joined as in
// Python: with bzip2, xz and zstd. The error is [ErrTooLarge] or [ErrDamaged]; it never
// holds a piece of the data.
func (m Method) Decompress(data []byte, limit int) (out []byte, err error) {
	defer func() {
		if recover() != nil { // in a library; the reason may hold content
			out, err = nil, ErrDamaged
		}
	}()
	switch m {
	case Zlib:
		out, err = inflate(data, limit)
	case Bzip2:
		out, err = bunzip2(data, limit)
	case XZ:
		out, err = unxz(data, limit)
	case Brotli:
		out, err = unbrotli(data, limit)
	case Zstd:
		out, err = unzstd(data, limit)
	default:
		err = ErrDamaged
	}
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, ErrTooLarge
	case err != nil:
		return nil, ErrDamaged
	}
	return out, nil
}

// Compress packs data so that the modules that kombu uses can unpack it.
func (m Method) Compress(data []byte) (out []byte, err error) {
	defer func() {
		if recover() != nil {
			out, err = nil, errors.New("compression panicked")
		}
	}()
	switch m {
	case Zlib:
		return deflate(data)
	case Bzip2:
		return nil, ErrReadOnly
	case XZ:
		return xzip(data)
	case Brotli:
		return brotlify(data)
	case Zstd:
		return zstdify(data)
	}
	return nil, errors.New("unknown method")
}

// readAll reads at most limit bytes from r. packed, the size of the source, is a first
// guess of the result's size.
func readAll(r io.Reader, packed, limit int) ([]byte, error) {
	// One byte more than allowed shows whether the limit is exceeded.
	out := make([]byte, 0, min(limit, max(512, 4*packed))+1)
	for {
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if len(out) > limit {
			return nil, ErrTooLarge
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(out) == cap(out) {
			grown := make([]byte, len(out), min(limit, 2*cap(out))+1)
			copy(grown, out)
			out = grown
		}
	}
}

// write packs data by a writer of a library.
func write(data []byte, open func(io.Writer) (io.WriteCloser, error)) ([]byte, error) {
	var packed bytes.Buffer
	w, err := open(&packed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
