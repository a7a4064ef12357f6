package templates

import (
	"errors"
	"io/fs"
)

// Names for the tests in package templates_test.

// Lint is lint without a brand.
func Lint(r Rendered) error {
	var faults []error
	for _, f := range lint(r, palette(), "") {
		faults = append(faults, errors.New(f.text))
	}
	return errors.Join(faults...)
}

// NewFrom is New with the templates of another file system.
func NewFrom(files fs.FS, o Options, samples []Mail) (*Set, error) { return newSet(files, o, samples) }

// EmbeddedFS returns the templates of this package.
func EmbeddedFS() fs.FS { return embedded }

// Unlink is unlink.
func Unlink(s string) string { return string(unlink(s)) }

// Contrast is contrast.
func Contrast(a, b string) (float64, error) { return contrast(a, b) }
