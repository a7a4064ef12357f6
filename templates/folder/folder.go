// Package folder reads the templates of an operator from a folder, and reads them again when they
// change, without a restart.
package folder

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/templates"
)

// Bounds of a folder.
const (
	maxFile  = 64 << 10 // bytes of a file; the HTML of a mail is smaller
	maxTotal = 4 << 20
	maxFiles = 1000 // of all names, also of other files
)

// Content is what a folder has.
type Content struct {
	Files   []templates.File
	Faults  []templates.Fault
	Skipped []string // names of files that are no templates

	sum [sha256.Size]byte // of the names, the texts and the faults
}

// Read reads the templates of a folder and of the folders in it. Links may lead to places inside
// of the folder only, as those of a mounted ConfigMap do. The error says that the folder itself
// cannot be read.
func Read(dir string) (Content, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		hint := "write the path of a folder with templates"
		if errors.Is(err, fs.ErrPermission) {
			hint = "let the program read the folder"
		}
		return Content{}, fmt.Errorf("%s: %s; %s", dir, reason(err), hint)
	}
	defer root.Close()
	r := reader{dir: dir, root: root}
	if err := r.folder("."); err != nil {
		return Content{}, fmt.Errorf("%s: %s; let the program read the folder", dir, reason(err))
	}
	if r.names > maxFiles { // what is wrong with each of them would hide this
		r.content = Content{}
		r.fault(".", fmt.Sprintf("more than %d files; keep nothing but templates there", maxFiles))
	}
	sorting.By(r.content.Files, func(a, b templates.File) int { return strings.Compare(a.Name, b.Name) })
	sum := sha256.New()
	for _, f := range r.content.Files {
		fmt.Fprintf(sum, "%q %d\n%s", f.Name, len(f.Text), f.Text)
	}
	for _, f := range r.content.Faults {
		fmt.Fprintf(sum, "%q\n", f.Error())
	}
	r.content.sum = [sha256.Size]byte(sum.Sum(nil))
	return r.content, nil
}

// reader reads one folder.
type reader struct {
	dir     string
	root    *os.Root
	content Content
	names   int
	bytes   int
}

// folder reads the files of a folder below the root, and at the root those of its folders.
func (r *reader) folder(name string) error {
	d, err := r.root.Open(name)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(maxFiles + 1)
	d.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	sorting.By(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		// ..data and the folder that it leads to are the mechanics of Kubernetes; other names
		// with a dot are of editors and of git.
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if r.names++; r.names > maxFiles {
			return nil
		}
		r.entry(path.Join(name, e.Name()), e, name == ".")
	}
	return nil
}

// entry reads a file, or a folder at the root. It skips names that are not of templates.
func (r *reader) entry(name string, e fs.DirEntry, top bool) {
	isTemplate := strings.HasSuffix(name, ".tmpl") || top && strings.HasPrefix(name, "words") && strings.HasSuffix(name, ".txt")
	info, err := r.root.Stat(name) // follows links
	switch {
	case errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink == 0:
		return // it was removed meanwhile
	case err != nil && (isTemplate || e.Type()&fs.ModeSymlink != 0):
		r.fault(name, reason(err)+r.linkHint(e))
	case err != nil:
		r.content.Skipped = append(r.content.Skipped, name)
	case info.IsDir() && isTemplate:
		r.fault(name, "is a folder; a template is a file")
	case info.IsDir() && top:
		if err := r.folder(name); err != nil {
			r.fault(name, reason(err)+"; let the program read the folder")
		}
	case info.IsDir() || !isTemplate:
		r.content.Skipped = append(r.content.Skipped, name)
	default:
		r.file(name)
	}
}

func (r *reader) linkHint(e fs.DirEntry) string {
	if e.Type()&fs.ModeSymlink != 0 {
		return "; links must be relative and stay inside of the folder"
	}
	return "; let the program read the file"
}

// file reads a template.
func (r *reader) file(name string) {
	// O_NONBLOCK: a pipe without a writer must not stop the program.
	f, err := r.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		r.fault(name, reason(err)+"; let the program read the file")
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		r.fault(name, "is no ordinary file; replace it by one")
		return
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		r.fault(name, reason(err))
		return
	case len(data) > maxFile:
		r.fault(name, fmt.Sprintf("larger than %d bytes; mail programs cut off such mails", maxFile))
		return
	}
	if r.bytes += len(data); r.bytes > maxTotal {
		r.fault(name, fmt.Sprintf("all files together are larger than %d bytes; remove some", maxTotal))
		return
	}
	text, line, wrong := clean(data)
	if wrong != "" {
		r.content.Faults = append(r.content.Faults, templates.Fault{File: filepath.Join(r.dir, name), Line: line, Text: wrong})
		return
	}
	r.content.Files = append(r.content.Files, templates.File{Name: name, Path: filepath.Join(r.dir, name), Text: text})
}

func (r *reader) fault(name, text string) {
	r.content.Faults = append(r.content.Faults, templates.Fault{File: filepath.Join(r.dir, name), Text: text})
}

// clean returns a text with LF line ends and without a byte order mark, or the line of a character
// that no template has and what is wrong with it.
func clean(data []byte) (text string, line int, wrong string) {
	text = strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	for i, l := range strings.Split(text, "\n") {
		if !utf8.ValidString(l) {
			return "", i + 1, "not UTF-8; save the file in this encoding"
		}
		if strings.IndexFunc(l, func(c rune) bool { return unicode.IsControl(c) && c != '\t' }) >= 0 {
			return "", i + 1, "holds a control character; remove it"
		}
	}
	return text, 0, ""
}

// reason returns what went wrong, without the path.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}
