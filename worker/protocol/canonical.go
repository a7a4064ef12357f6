package protocol

import (
	"bytes"
	"cmp"
	"math"
	"math/big"
	"slices"
	"strconv"
)

// AppendCanonical appends a value in the one form that all texts of it have in common:
// without space, keys sorted and each once, the last of equal ones as in Python, texts and
// fractions written in one way. So a value that Python has read and written again is the same. The
// error is a *[DecodeError], of what is no value.
func AppendCanonical(dst []byte, r Raw) ([]byte, error) { return canonical{}.append(dst, r) }

// AppendComparable appends a value in the one form that all values have in common that are
// equal (==) in Python: that of [AppendCanonical], with numbers by their value, so that 1,
// 1.0 and true are the same. The error is a *[DecodeError].
func AppendComparable(dst []byte, r Raw) ([]byte, error) {
	return canonical{byValue: true}.append(dst, r)
}

// canonical writes canonical forms.
type canonical struct {
	byValue bool // numbers of all types, and truth values, are numbers
}

func (c canonical) append(dst []byte, r Raw) ([]byte, error) {
	kind, err := r.kind()
	if err != nil {
		return nil, err
	}
	r = trim(r)
	switch kind {
	case kindString:
		return appendQuotedSurrogates(dst, unquoteSurrogates(r)), nil
	case kindFloat:
		return c.appendFloat(dst, r), nil
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
			if dst, err = c.append(dst, e); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case kindObject:
		return c.appendObject(dst, r)
	}
	switch text := string(r); {
	case text == "-0", c.byValue && text == "false":
		return append(dst, '0'), nil
	case c.byValue && text == "true":
		return append(dst, '1'), nil
	}
	return append(dst, r...), nil
}

func (c canonical) appendObject(dst []byte, r Raw) ([]byte, error) {
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
		if dst, err = c.append(dst, f.Value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func (c canonical) appendFloat(dst []byte, r Raw) []byte {
	f, err := strconv.ParseFloat(string(r), 64)
	if err != nil && !bytes.ContainsAny(r, "eE.") {
		return append(dst, r...)
	}
	if c.byValue && f == math.Trunc(f) && !math.IsInf(f, 0) {
		whole, _ := big.NewFloat(f).Int(nil)
		return whole.Append(dst, 10)
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
