package oteltrace

import (
	"slices"

	"github.com/evently/workers/worker/protocol"
)

// headers lets a propagator read and write the headers of a message. They are texts
// beside the headers of Celery, where Python reads them.
type headers struct{ m *protocol.Message }

// Get returns the text of a header, "" if it is no text.
func (h headers) Get(name string) string {
	var text string
	if protocol.Unmarshal(h.m.Header(name), &text) != nil {
		return ""
	}
	return text
}

// Set writes a header.
func (h headers) Set(name, text string) {
	if raw, err := protocol.Marshal(text); err == nil { // a text has a form in JSON
		h.m.SetHeader(name, raw)
	}
}

// Keys returns the names of all headers.
func (h headers) Keys() []string {
	names := make([]string, 0, len(h.m.Headers))
	for _, one := range h.m.Headers {
		names = append(names, one.Name)
	}
	return names
}

// remove drops headers of another trace, such as its state.
func (h headers) remove(names []string) {
	h.m.Headers = slices.DeleteFunc(slices.Clone(h.m.Headers), func(one protocol.Header) bool {
		return slices.Contains(names, one.Name)
	})
}
