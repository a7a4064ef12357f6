package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/evently/workers/internal/sorting"
)

// Problem is one mistake in the configuration.
type Problem struct {
	Variable string // name of the variable, as in REDIS_PORT
	Wrong    string // what is wrong with it; never the text of a secret
	Right    string // what would be right
}

// String returns the problem as one line.
func (p Problem) String() string {
	if p.Right == "" {
		return p.Variable + ": " + p.Wrong
	}
	return p.Variable + ": " + p.Wrong + "; " + p.Right
}

// Error holds every mistake that [Load] found, in the order of the table of
// variables. None of its texts contains a secret.
type Error struct {
	Problems []Problem
	// A function, as everything else would be printed with the error by one verb
	// or another, and a mistake may be a secret in the wrong place.
	read func() Config
}

// Read returns what could be read: to look for mistakes that others know better,
// not to work with.
func (e *Error) Read() Config {
	if e.read == nil {
		return Config{}
	}
	return e.read()
}

// Add returns err, nil or the error of [Load], with further problems: those of
// variables that it has nothing to say about. It is nil when there are none at
// all. An error that is not an [*Error] is returned as it is.
func Add(err error, more ...Problem) error {
	all := &Error{}
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return err
		}
		all.Problems, all.read = slices.Clone(e.Problems), e.read
	}
	for _, p := range more {
		if !slices.ContainsFunc(all.Problems, func(q Problem) bool { return q.Variable == p.Variable }) {
			all.Problems = append(all.Problems, p)
		}
	}
	if len(all.Problems) == 0 {
		return nil
	}
	place := make(map[string]int)
	for i, s := range slices.Backward(Table()) {
		place[s.Variable+fileSuffix], place[s.Variable] = i, i
	}
	sorting.Stable(all.Problems, func(p, q Problem) int { return place[p.Variable] - place[q.Variable] })
	return all
}

// Error returns a headline and one line per mistake.
func (e *Error) Error() string {
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString("1 mistake in the configuration:")
	} else {
		fmt.Fprintf(&b, "%d mistakes in the configuration:", len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// Warning is something that works, but probably not as it was meant.
type Warning struct {
	Variable string `json:"variable"`
	Text     string `json:"text"` // never contains a secret
}

// String returns the warning as one line.
func (w Warning) String() string { return w.Variable + ": " + w.Text }
