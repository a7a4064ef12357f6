package guard

import (
	"net/http"
	"time"

	"github.com/evently/workers/monitor/internal/headers"
)

// Policy is the Content-Security-Policy of the pages.
const Policy = headers.Policy

// Headers sets the headers that each answer has. A handler may replace the policy and the
// cache control.
func Headers(h http.Header, secure bool) {
	headers.Set(h)
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// Bounds of requests.
const (
	MaxBody = 8 << 20 // of any request; the pages have smaller bounds
	// streamFor is the longest request: a stream ends then, and the browser opens it again,
	// as far as its session still allows that.
	streamFor = 15 * time.Minute
)
