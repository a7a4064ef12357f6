package wording

import "strings"

// maxLocale is the length of the longest name of a language that is read, in bytes.
const maxLocale = 35

// Locale returns the usual form of a language tag: "de", "de-AT", "zh-Hant-TW". It reads the
// forms of POSIX, too: "de_AT.UTF-8". It returns "" for all else, and for C and POSIX.
func Locale(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, ".@"); i >= 0 {
		s = s[:i]
	}
	if len(s) < 2 || len(s) > maxLocale {
		return ""
	}
	parts := strings.Split(strings.ReplaceAll(strings.ToLower(s), "_", "-"), "-")
	if n := len(parts[0]); n < 2 || n > 3 || !letters(parts[0]) {
		return ""
	}
	for i, p := range parts[1:] {
		switch {
		case len(p) == 4 && letters(p) && i == 0:
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		case len(p) == 2 && letters(p) && i <= 1:
			parts[i+1] = strings.ToUpper(p)
		case len(p) == 3 && strings.Trim(p, "0123456789") == "" && i <= 1:
		default:
			return ""
		}
	}
	return strings.Join(parts, "-")
}

func letters(s string) bool { return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" }

// Parent returns the language without its last part: "de" for "de-AT", "" for "de".
func Parent(locale string) string {
	return locale[:max(strings.LastIndexByte(locale, '-'), 0)]
}
