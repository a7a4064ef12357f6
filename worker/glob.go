package worker

import (
	"fmt"
	"regexp"
	"strings"
)

// glob compiles a shell pattern as Python's fnmatch understands it: * and ? match
// any letters, [seq] one of them and [!seq] another one; nothing is escaped.
func glob(pattern string) (*regexp.Regexp, error) {
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
