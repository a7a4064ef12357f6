package config

import (
	"fmt"
	"strings"
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
