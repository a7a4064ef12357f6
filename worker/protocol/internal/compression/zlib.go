package compression

import (
	"bytes"
	"compress/bzip2"
	"compress/zlib"
	"io"
)

// inflate reads one zlib stream and ignores the bytes after it, as Python's
// zlib.decompress does.
func inflate(data []byte, limit int) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return readAll(r, len(data), limit)
}

func deflate(data []byte) ([]byte, error) {
	return write(data, func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil })
}

// bunzip2 unpacks consecutive bzip2 streams. The format needs 3.6 MB for blocks of the
// usual size under any limit. Python ignores other bytes after the last stream; here they
// are refused, because no producer writes them.
func bunzip2(data []byte, limit int) ([]byte, error) {
	return readAll(bzip2.NewReader(bytes.NewReader(data)), len(data), limit)
}
