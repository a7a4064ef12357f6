// Package segment puts names of others into paths of pages. Queues, workers and tasks may have any
// name.
package segment

import (
	"net/url"
	"strings"
)

// mark begins a segment whose name would change the path, or begins with the mark. Browsers and
// servers take the segments . and .. out of a path, also as %2E, and the router takes %2F alone for
// the end of a path.
const mark = "~"

// Of returns the segment of a name.
func Of(name string) string {
	if name == "." || name == ".." || name == "/" || strings.HasPrefix(name, mark) {
		return mark + url.PathEscape(name)
	}
	return url.PathEscape(name)
}

// Name returns the name of a segment that a router has unescaped.
func Name(segment string) string { return strings.TrimPrefix(segment, mark) }
