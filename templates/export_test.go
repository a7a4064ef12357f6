package templates

import "io/fs"

// Names for the tests in package templates_test.

// Lint is lint.
func Lint(r Rendered) error { return lint(r) }

// NewFrom is New with the templates of another file system.
func NewFrom(files fs.FS, o Options, samples []Mail) (*Set, error) { return newSet(files, o, samples) }

// Embedded returns the templates of this package.
func Embedded() fs.FS { return embedded }

// Unlink is unlink.
func Unlink(s string) string { return string(unlink(s)) }

// Contrast is contrast.
func Contrast(a, b string) (float64, error) { return contrast(a, b) }
