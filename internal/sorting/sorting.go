// Package sorting sorts where speed does not matter. The compiler builds the generic algorithms of
// package slices again for each type and in each package that calls them. That was a tenth of the
// time of a first build. For a call of this package it builds one comparison.
package sorting

import (
	"slices"
	"sort"
)

// Keys returns the keys of m in order.
func Keys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// Copy returns a copy of s in order.
func Copy(s []string) []string {
	s = slices.Clone(s)
	sort.Strings(s)
	return s
}

// By sorts s as [slices.SortFunc] does.
func By[T any](s []T, compare func(a, b T) int) {
	sort.Slice(s, func(i, j int) bool { return compare(s[i], s[j]) < 0 })
}

// Stable sorts s as [slices.SortStableFunc] does.
func Stable[T any](s []T, compare func(a, b T) int) {
	sort.SliceStable(s, func(i, j int) bool { return compare(s[i], s[j]) < 0 })
}
