package protocol

import "fmt"

// withHeaders returns the headers of a message with those of add: they take
// the place of what had their names, and all others stay. Headers that Celery
// or kombu give a meaning are refused, as they are fields of [Message].
func withHeaders(headers, add []Header) ([]Header, error) {
	if len(add) == 0 {
		return headers, nil
	}
	named := make(map[string]bool, len(add))
	for _, h := range add {
		if h.Name == "" || celeryHeader(h.Name) {
			return nil, fmt.Errorf("header %q is not one that an application may set", h.Name)
		}
		named[h.Name] = true
	}
	merged := make([]Header, 0, len(headers)+len(add))
	for _, h := range headers {
		if !named[h.Name] {
			merged = append(merged, h)
		}
	}
	return append(merged, add...), nil
}
