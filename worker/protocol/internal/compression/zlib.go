package compression

import (
	"bytes"
	"compress/bzip2"
	"compress/zlib"
	"io"
)

// inflate reads one zlib stream. What follows it is ignored, as zlib.decompress
// of Python does.
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

// bunzip2 needs 3.6 MB for blocks of the usual size, whatever the limit: that is
// the format. Python ignores bytes behind the last stream that are no stream;
// nobody writes them, and here they are refused.
func bunzip2(data []byte, limit int) ([]byte, error) {
	return readAll(bzip2.NewReader(bytes.NewReader(data)), len(data), limit)
}
