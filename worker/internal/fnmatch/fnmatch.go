// Package fnmatch compiles shell patterns as Python's fnmatch understands them.
package fnmatch

import (
	"fmt"
	"regexp"
	"strings"
)

// Compile returns the expression of a pattern. * matches any letters, ? one letter, [seq] a
// letter of seq and [!seq] any other; there is no escape. The expression is anchored at
// both ends. The error reports a range that ends before it begins.
func Compile(pattern string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	rs := []rune(pattern)
	for i := 0; i < len(rs); i++ {
		switch c := rs[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		case '[':
			end := i + 1
			if end < len(rs) && rs[end] == '!' {
				end++
			}
			if end < len(rs) && rs[end] == ']' {
				end++ // the first one is a member
			}
			for end < len(rs) && rs[end] != ']' {
				end++
			}
			if end == len(rs) {
				b.WriteString(`\[`)
				continue
			}
			b.WriteString(class(rs[i+1 : end]))
			i = end
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("pattern %q: a range is the wrong way round", pattern)
	}
	return re, nil
}

// class returns the expression of the members of a bracket.
func class(members []rune) string {
	var b strings.Builder
	b.WriteByte('[')
	if members[0] == '!' {
		b.WriteByte('^')
		members = members[1:]
	}
	for i, c := range members {
		if c == '-' && i > 0 && i < len(members)-1 {
			b.WriteByte('-')
			continue
		}
		b.WriteString(regexp.QuoteMeta(string(c)))
		if c == '-' {
			// At an end it is a member; QuoteMeta leaves it alone.
			s := b.String()
			b.Reset()
			b.WriteString(s[:len(s)-1] + `\-`)
		}
	}
	b.WriteByte(']')
	return b.String()
}
