package program

import (
	"archive/tar"
	"bytes"
	"path"
	"slices"
	"strings"
	"time"
)

// File is one of an archive. A name that ends with a slash is a folder.
type File struct {
	Name    string
	Mode    int64
	Content []byte
}

// Tar packs files, with the folders that they need. All have the same time and belong to root.
func Tar(files []File, when time.Time) ([]byte, error) {
	all := slices.Clone(files)
	for _, f := range files {
		for dir := path.Dir(strings.TrimSuffix(f.Name, "/")); dir != "."; dir = path.Dir(dir) {
			if !slices.ContainsFunc(all, func(f File) bool { return f.Name == dir+"/" }) {
				all = append(all, File{Name: dir + "/", Mode: 0o755})
			}
		}
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range all {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Mode: f.Mode, Size: int64(len(f.Content)), ModTime: when, Format: tar.FormatUSTAR}
		if strings.HasSuffix(f.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
