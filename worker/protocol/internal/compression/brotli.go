package compression

import (
	"bytes"
	"io"

	"github.com/andybalholm/brotli"
)

// unbrotli reads the single stream of a body.
func unbrotli(data []byte, limit int) ([]byte, error) {
	return readAll(brotli.NewReader(bytes.NewReader(narrowed(data, limit))), len(data), limit)
}

// narrowed makes the window that a stream declares, up to 16 MiB, as small as the limit
// allows, since the decoder allocates it. A window that holds all of the output reads
// like a larger one: distances count back from the end of the output, not from the end of
// the window.
//
// The first bits hold the size (RFC 7932 section 9.1): a one, then three bits with its
// logarithm minus 17. Windows of 128 KiB and less have another form and stay as they are.
func narrowed(data []byte, limit int) []byte {
	if len(data) == 0 || data[0]&1 == 0 || data[0]>>1&7 == 0 {
		return data
	}
	need := byte(18)
	for need < 24 && 1<<need-16 <= limit {
		need++
	}
	if data[0]>>1&7 <= need-17 {
		return data
	}
	data = bytes.Clone(data)
	data[0] = data[0]&^(7<<1) | (need-17)<<1
	return data
}

func brotlify(data []byte) ([]byte, error) {
	return write(data, func(w io.Writer) (io.WriteCloser, error) {
		return brotli.NewWriterLevel(w, brotli.DefaultCompression), nil
	})
}
