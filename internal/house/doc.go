// Package house holds the repository to its own rules: sizes of objects and files, plain
// English, documents that are true of the code. It consists of tests.
package house
