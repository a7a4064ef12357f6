package config

import (
	"slices"
	"sort"
	"strings"
)

// misspelt looks through an environment for names that nearly are one of ours:
// REDIS_PASWORD is set, and nothing else would ever say why there is no login.
func (c *Config) misspelt(environ []string, fields []field) {
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.base().name
	}
	for _, f := range fields {
		if takesFile(f) {
			known = append(known, f.base().name+fileSuffix)
		}
	}
	sort.Strings(environ) // the same warnings in the same order
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if blank(value) || slices.Contains(known, name) {
			continue
		}
		if variable, ok := strings.CutSuffix(name, fileSuffix); ok && slices.Contains(known, variable) {
			c.warn(name, "is not known: only secrets are read from files; write the value into "+variable)
			continue
		}
		meant := unquoteName(name) // as in "export REDIS_HOST", or behind a byte order mark
		if !slices.Contains(known, meant) {
			meant = nearest(name, known)
		}
		if meant != "" {
			c.warn(name, "is not known; did you mean "+meant+"?")
		}
	}
}

// nearest returns what name was probably meant to be, or "".
func nearest(name string, known []string) string {
	name = strings.ToUpper(name)
	// Names that other programs have for the same thing.
	switch name {
	case "REDIS_TLS", "REDIS_SSL":
		return "REDIS_USE_TLS"
	case "SMTP_TLS", "SMTP_SSL", "SMTP_USE_SSL":
		return "SMTP_TLS_MODE"
	case "DB_SSL", "DB_TLS":
		return "DB_SSLMODE"
	}
	best, least := "", 3
	for _, k := range known {
		if len(name)-len(k) >= least || len(k)-len(name) >= least {
			continue // their distance is no less; a start has no time for more
		}
		if d := distance(name, k, least); d < least && (d < 2 || min(len(name), len(k)) >= 10) {
			best, least = k, d
		}
	}
	if best != "" {
		return best
	}
	for _, k := range known { // SMTP_USER, DB_USERNAME, HEALTH_ADDRESS
		short, long := k, name
		if len(short) > len(long) {
			short, long = long, short
		}
		rest, ok := strings.CutPrefix(long, short)
		if ok && strings.Contains(short, "_") && !strings.HasSuffix(short, "_") && !strings.Contains(rest, "_") {
			return k
		}
	}
	return ""
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to make b of a, or most if it is no less.
func distance(a, b string, most int) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		if slices.Min(row) >= most && slices.Min(last) >= most {
			return most // what comes is made of these, and no less
		}
		before, last = last, row
	}
	return last[len(b)]
}
