// Package secretfile reads the files in which container platforms and agents hand over secrets.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// maxSize is the largest file, in octets.
const maxSize = 1 << 20

// Read returns the content of a file without the line break at its end. It follows symbolic
// links, because Kubernetes replaces the folder behind them. An empty file is an error. Errors
// do not repeat the path or the content.
func Read(path string) (string, error) {
	// Without O_NONBLOCK a named pipe would block until another process writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", plain(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", plain(err)
	case info.IsDir():
		return "", errors.New("it is a folder")
	case !info.Mode().IsRegular():
		return "", errors.New("it is not a regular file")
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return "", plain(err)
	}
	if len(raw) > maxSize {
		return "", fmt.Errorf("it is larger than %d bytes", maxSize)
	}
	text := strings.TrimRight(strings.TrimPrefix(string(raw), "\ufeff"), "\r\n")
	if strings.TrimSpace(text) == "" {
		return "", errors.New("it is empty")
	}
	return text, nil
}

// plain returns the cause of an error of the file system, without the path.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
