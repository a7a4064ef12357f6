package protocol

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
)

// AppendCanonical appends a value in the one form that all texts of it have in common:
// without space, keys sorted and each once, the last of equal ones as in Python, texts and
// fractions written in one way. So a value that Python has read and written again is the same. The
// error is a *[DecodeError], of what is no value.
func AppendCanonical(dst []byte, r Raw) ([]byte, error) {
	kind, err := r.kind()
	if err != nil {
		return nil, err
	}
	r = trim(r)
	switch kind {
	case kindString:
		return appendQuotedSurrogates(dst, unquoteSurrogates(r)), nil
	case kindFloat:
		return appendCanonicalFloat(dst, r), nil
	case kindArray:
		elements, err := r.Elements()
		if err != nil {
			return nil, err
		}
		dst = append(dst, '[')
		for i, e := range elements {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = AppendCanonical(dst, e); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case kindObject:
		return appendCanonicalObject(dst, r)
	}
	if string(r) == "-0" { // an integer
		return append(dst, '0'), nil
	}
	return append(dst, r...), nil
}

func appendCanonicalObject(dst []byte, r Raw) ([]byte, error) {
	fields, err := r.Fields()
	if err != nil {
		return nil, err
	}
	slices.Reverse(fields)
	slices.SortStableFunc(fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	fields = slices.CompactFunc(fields, func(a, b Field) bool { return a.Name == b.Name })
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, f.Name), ':')
		if dst, err = AppendCanonical(dst, f.Value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendCanonicalFloat(dst []byte, r Raw) []byte {
	f, err := strconv.ParseFloat(string(r), 64)
	if err != nil && !bytes.ContainsAny(r, "eE.") {
		return append(dst, r...)
	}
	return appendFloat(dst, f, 64)
}

// unquoteSurrogates is unquote for text whose unpaired surrogates are kept.
func unquoteSurrogates(q Raw) string {
	text, exact := appendUnquoted(make([]byte, 0, len(q)), q)
	if exact {
		return string(text)
	}
	return string(q) // rare, and any one form will do
}
