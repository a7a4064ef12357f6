package guard

import (
	"net/http"
	"time"
)

// Policy is the Content-Security-Policy of the pages. Nothing is inline, so there is no
// nonce.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; frame-src 'self'; require-trusted-types-for 'script'; trusted-types htmx"

// PreviewPolicy is that of mails in a frame of our own pages: they run nothing and load
// nothing.
const PreviewPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"

// Headers sets the headers that each answer has. A handler may replace the policy and the
// cache control.
func Headers(h http.Header, secure bool) {
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "SAMEORIGIN") // for browsers without frame-ancestors
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
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
